import { type DestinationStream, destination, pino, stdSerializers, stdTimeFunctions } from 'pino';
import type { Logger } from '../base/log.ts';
import type { Config } from '../config/schema.ts';
import { readVersion } from './version.ts';

export interface AdjustableLogger extends Logger {
  /** Takes effect with the next event. */
  setLevel(level: Config['log']['level']): void;
}

/**
 * One JSON object a line on stdout. Written synchronously: a transport thread costs memory and loses the last lines of a process that
 * dies, which are the ones that matter; and a gateway logs events, never packets.
 */
export function makeLogger(config: Config['log'], stream?: DestinationStream): AdjustableLogger {
  const logger = pino(
    {
      level: config.level,
      base: { name: 'isthmus', version: readVersion() },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: stdSerializers.err, err: stdSerializers.err, cause: stdSerializers.err },
    },
    stream ?? destination({ dest: 1, sync: true }),
  );
  return {
    debug: (fields, message) => logger.debug(fields, message),
    info: (fields, message) => logger.info(fields, message),
    warn: (fields, message) => logger.warn(fields, message),
    error: (fields, message) => logger.error(fields, message),
    setLevel(level) {
      logger.level = level;
    },
  };
}
