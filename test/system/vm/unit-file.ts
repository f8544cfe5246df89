/** What a systemd unit says: `Section.Key` → its values, one for each line, as systemd.syntax(7) has it. */
export type UnitFile = ReadonlyMap<string, readonly string[]>;

export function parseUnit(text: string): UnitFile {
  const unit = new Map<string, string[]>();
  let section = '';
  for (const line of text.split('\n').map((raw) => raw.trim())) {
    if (line === '' || line.startsWith('#') || line.startsWith(';')) continue;
    const header = /^\[(\w+)\]$/.exec(line)?.[1];
    if (header !== undefined) {
      section = header;
      continue;
    }
    const equals = line.indexOf('=');
    if (equals < 0) throw new Error(`not a line of a unit: ${line}`);
    const key = `${section}.${line.slice(0, equals)}`;
    unit.set(key, [...(unit.get(key) ?? []), line.slice(equals + 1)]);
  }
  return unit;
}

/** The one value of a key; throws where there is none or more than one. */
export function oneValue(unit: UnitFile, key: string): string {
  const values = unit.get(key) ?? [];
  if (values.length !== 1) throw new Error(`${key}: one value expected, got ${values.length}`);
  return values[0]!;
}

/** A user as DynamicUser= would pick one, from the range that systemd keeps for them. */
export const DYNAMIC_USER = 61_184;

/** The command that starts the unit as systemd would as far as user and capabilities go: setpriv, then ExecStart. */
export function startCommand(unit: UnitFile): string[] {
  if (oneValue(unit, 'Service.DynamicUser') !== 'yes') throw new Error('DynamicUser=yes expected');
  if (oneValue(unit, 'Service.NoNewPrivileges') !== 'yes') throw new Error('NoNewPrivileges=yes expected');
  const user = String(DYNAMIC_USER);
  return [
    ...['setpriv', '--reuid', user, '--regid', user, '--clear-groups', '--no-new-privs'],
    ...['--bounding-set', `-all,${plus(oneValue(unit, 'Service.CapabilityBoundingSet'))}`],
    ...['--inh-caps', `-all,${plus(oneValue(unit, 'Service.AmbientCapabilities'))}`],
    ...['--ambient-caps', `-all,${plus(oneValue(unit, 'Service.AmbientCapabilities'))}`],
    ...['--', ...oneValue(unit, 'Service.ExecStart').split(' ')],
  ];
}

/** `CAP_NET_ADMIN CAP_NET_RAW` as setpriv writes it: `+net_admin,+net_raw`. */
function plus(capabilities: string): string {
  const names = capabilities.split(' ').map((name) => `+${name.replace(/^CAP_/, '').toLowerCase()}`);
  return names.join(',');
}
