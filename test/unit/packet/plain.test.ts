import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { flowHash } from '../../../src/packet/flow.ts';
import {
  checkInner,
  checkOuter,
  headerBytes,
  outerPayload,
  PROTOCOL,
  totalLength,
} from '../../../src/packet/ipv4.ts';
import {
  mayBeSyn,
  plainDestination,
  plainFlowHash,
  plainLength,
  plainPayload,
  plainProtocol,
  plainSource,
} from '../../../src/packet/plain.ts';
import { clampMss } from '../../../src/packet/tcp.ts';
import { VERDICT } from '../../../src/packet/verdict.ts';
import { anyPacket, plainPacket, SEED, setHeaderChecksum } from './oracle.ts';

/** A packet, bytes of its header that are overwritten, whether the checksum is made right after that, and how much of it is there. */
const anyBytes = fc
  .tuple(
    anyPacket,
    fc.array(fc.tuple(fc.nat({ max: 19 }), fc.nat({ max: 255 })), { maxLength: 3 }),
    fc.boolean(),
    fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat({ max: 80 }) }),
  )
  .map(([packet, changes, repaired, missing]) => {
    // The functions may read as far as a header is long, whatever the packet says.
    const bytes = new Uint8Array(Math.max(packet.length, 64) + 64);
    bytes.set(packet);
    for (const [at, value] of changes) bytes[at] = value;
    if (repaired) setHeaderChecksum(bytes);
    return { bytes, view: new DataView(bytes.buffer), available: Math.max(0, packet.length - missing) };
  });

test('a packet without options is plain exactly when checkInner takes it', () => {
  let plain = 0;
  fc.assert(
    fc.property(anyBytes, ({ bytes, view, available }) => {
      const length = plainLength(view, 0, available);
      const isTaken = checkInner(bytes, 0, available) === VERDICT.FORWARD && headerBytes(bytes, 0) === 20;
      assert.equal(length, isTaken ? totalLength(bytes, 0) : 0);
      if (length > 0) plain += 1;
    }),
    { seed: SEED, numRuns: 5000 },
  );
  assert.ok(plain > 100, `only ${plain} packets were plain`);
});

test('the payload of a plain outer header is that of outerPayload, and checkOuter takes the packet', () => {
  let plain = 0;
  fc.assert(
    fc.property(anyBytes, fc.boolean(), ({ bytes, view, available }, ipip) => {
      if (ipip) {
        bytes[9] = 4;
        setHeaderChecksum(bytes);
      }
      const payload = plainPayload(view, 0, available, PROTOCOL.IPIP);
      if (payload === 0) return;
      plain += 1;
      assert.equal(checkOuter(bytes, 0, available, PROTOCOL.IPIP), VERDICT.FORWARD);
      assert.equal(payload, outerPayload(bytes, 0, available));
    }),
    { seed: SEED, numRuns: 20_000 },
  );
  assert.ok(plain > 100, `only ${plain} packets were plain`);
});

test('reads the fields and the flow hash that the other functions of the folder read byte by byte', () => {
  let plain = 0;
  fc.assert(
    fc.property(anyBytes, ({ bytes, view, available }) => {
      const length = plainLength(view, 0, available);
      if (length === 0) return;
      plain += 1;
      assert.equal(plainFlowHash(view, 0, length), flowHash(bytes, 0));
      assert.equal(plainSource(view, 0), view.getInt32(12));
      assert.equal(plainDestination(view, 0), view.getInt32(16));
      assert.equal(plainProtocol(view, 0), bytes[9]);
    }),
    { seed: SEED, numRuns: 5000 },
  );
  assert.ok(plain > 100, `only ${plain} packets were plain`);
});

test('every packet that clampMss changes may be a SYN', () => {
  let changed = 0;
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 20, maxLength: 60 }),
      fc.boolean(),
      fc.constantFrom(6, 6, 17),
      fc.constantFrom(0, 0, 0x2000, 0x4000, 1),
      (segment, hasMss, protocol, fragment) => {
        if (hasMss && segment.length >= 24)
          segment.set([0x60, segment[13]!, 0, 0, 0, 0, 0, 0, 2, 4, 255, 255], 12);
        const bytes = plainPacket({ protocol, fragment, payload: segment });
        const view = new DataView(bytes.buffer);
        const may = mayBeSyn(view, 0, bytes.length);
        if (clampMss(bytes, 0, 100) === 0) return;
        changed += 1;
        assert.equal(may, 1);
      },
    ),
    { seed: SEED, numRuns: 5000 },
  );
  assert.ok(changed > 100, `only ${changed} packets were changed`);
});

test('what is shorter than a header is not read', () => {
  const view = new DataView(new ArrayBuffer(0));
  for (let available = 0; available < 20; available++) {
    assert.equal(plainLength(view, 0, available), 0);
    assert.equal(plainPayload(view, 0, available, PROTOCOL.IPIP), 0);
  }
});
