import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { COALESCE } from '../../../src/io/native.ts';
import { put16, sealHeader } from '../../sim/oracle/wire.ts';
import { type CoalesceOptions, coalesce } from './coalesce-rig.ts';
import { damaged, FLAG, Flow, type FlowPacket, leftPartial, sealTransport } from './flow-packets.ts';
import { cutByKernel, GSO } from './kernel-cut.ts';

const UDP: CoalesceOptions = { features: COALESCE.UDP };

/** How many packets each entry was made of, after checking that the kernel makes the very packets of them again. */
function merged(packets: readonly Uint8Array[], options: CoalesceOptions = {}): number[] {
  const { entries, dropped } = coalesce(packets, options);
  assert.deepEqual(dropped, []);
  const cut = entries.flatMap((entry) => cutByKernel(entry.vnet, entry.packet));
  const sorted = (all: readonly Uint8Array[]): string[] =>
    all.map((one) => Buffer.from(one).toString('hex')).sort();
  assert.deepEqual(sorted(cut), sorted(packets));
  assert.equal(
    entries.reduce((sum, entry) => sum + entry.innerBytes, 0),
    packets.reduce((sum, packet) => sum + packet.length, 0),
  );
  return entries.map((entry) => entry.packets);
}

for (const version of [4, 6] as const) {
  describe(`IPv${version}, TCP`, () => {
    const flow = (base: Partial<FlowPacket> = {}): Flow => new Flow({ version, ...base });

    test('consecutive segments become one packet of which each is made again', () => {
      const sender = flow({ tcpOptions: Uint8Array.of(1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8) });
      const packets = [sender.next(), sender.next(), sender.next()];
      assert.deepEqual(merged(packets), [3]);
      const [entry] = coalesce(packets).entries;
      assert.equal(entry!.vnet.gsoType, version === 4 ? GSO.TCP4 : GSO.TCP6);
      assert.equal(entry!.vnet.gsoSize, 1400);
      assert.equal(entry!.peer, 3);
    });

    /** The second packet of three is changed: what is left of the group. */
    const second: readonly [string, Partial<FlowPacket>, number[]][] = [
      ['other options', { tcpOptions: Uint8Array.of(1, 1, 1, 1) }, [1, 1, 1]],
      ['another window', { window: 502 }, [1, 1, 1]],
      ['another acknowledgement', { acknowledgement: 1 }, [1, 1, 1]],
      ['another urgent pointer', { urgent: 7 }, [1, 1, 1]],
      ['another bit before the flags (AE)', { reserved: 1 }, [1, 1, 1]],
      ['ECE', { flags: FLAG.ACK | FLAG.ECE }, [1, 1, 1]],
      ['CWR', { flags: FLAG.ACK | FLAG.CWR }, [1, 1, 1]],
      ['SYN', { flags: FLAG.ACK | FLAG.SYN }, [1, 1, 1]],
      ['RST', { flags: FLAG.ACK | FLAG.RST }, [1, 1, 1]],
      ['URG', { flags: FLAG.ACK | FLAG.URG }, [1, 1, 1]],
      ['PSH: it ends the group', { flags: FLAG.ACK | FLAG.PSH }, [2, 1]],
      ['FIN: it ends the group', { flags: FLAG.ACK | FLAG.FIN }, [2, 1]],
      ['CE in the ECN field', { tos: 3 }, [1, 1, 1]],
      ['another DSCP', { tos: 0xb8 }, [1, 1, 1]],
      ['another TTL', { ttl: 62 }, [1, 1, 1]],
      ['a sequence number that repeats', { sequence: 0xffff_fc00 }, [1, 1, 1]],
      ['a sequence number beyond a gap', { sequence: 0x179 }, [1, 1, 1]],
      ['another port: the others are of one flow', { port: 41_000 }, [1, 1, 1]],
    ];
    for (const [name, change, expected] of second) {
      test(`flush: ${name}`, () => {
        const sender = flow();
        assert.deepEqual(merged([sender.next(), sender.next(1400, change), sender.next()]), expected);
      });
    }

    test('flush: a pure acknowledgement goes alone, and what follows it does not pass it', () => {
      const sender = flow();
      const packets = [1400, 1400, 0, 1400, 1400].map((bytes) => sender.next(bytes));
      assert.deepEqual(merged(packets), [2, 1, 2]);
    });

    test('flush: a shorter segment is the last of its group, a longer one begins another', () => {
      const sender = flow();
      const packets = [1000, 1000, 400, 400, 1400, 1400].map((bytes) => sender.next(bytes));
      assert.deepEqual(merged(packets), [3, 1, 2]);
    });

    test('flush: out of order', () => {
      const sender = flow();
      const [a, b, c] = [sender.next(), sender.next(), sender.next()];
      assert.deepEqual(merged([a, c, b]), [1, 1, 1]);
    });

    test('flush: a group whose first packet has PSH, FIN, SYN, RST, URG or CWR is none', () => {
      for (const flag of [FLAG.PSH, FLAG.FIN, FLAG.SYN, FLAG.RST, FLAG.URG, FLAG.CWR]) {
        const sender = flow();
        const flags = FLAG.ACK | flag;
        assert.deepEqual(
          merged([sender.next(1400, { flags }), sender.next(1400, { flags }), sender.next()]),
          [1, 1, 1],
          `flag ${flag}`,
        );
      }
    });

    test('flush: a merged packet has at most 65,535 bytes', () => {
      const headers = version === 4 ? 40 : 60;
      const sender = flow();
      const packets = Array.from({ length: 64 }, () => sender.next(1400));
      const most = Math.floor((65_535 - headers) / 1400);
      assert.deepEqual(merged(packets), [most, 64 - most]);
    });

    test('flush: a wrong checksum is never merged, and passed on as it is', () => {
      for (const place of [0, 1, 2]) {
        const sender = flow();
        const packets = [sender.next(), sender.next(), sender.next(), sender.next()];
        packets[place] = damaged(packets[place]!);
        assert.deepEqual(
          merged(packets),
          [
            [1, 3],
            [1, 1, 2],
            [2, 1, 1],
          ][place],
        );
      }
    });

    test('flush: packets of one flow from two peers are counted for each', () => {
      const sender = flow();
      const packets = [sender.next(), sender.next(), sender.next(), sender.next()];
      assert.deepEqual(merged(packets, { peers: [3, 3, 4, 4] }), [2, 2]);
      const { entries } = coalesce(packets, { peers: [3, 3, 4, 4] });
      assert.deepEqual(
        entries.map(({ peer }) => peer),
        [3, 4],
      );
    });

    test('flush: no more pieces than there is room for', () => {
      const sender = flow();
      const packets = Array.from({ length: 5 }, () => sender.next());
      assert.deepEqual(merged(packets, { pairs: 2 }), [3, 1, 1]);
      assert.deepEqual(merged(packets, { pairs: 0 }), [1, 1, 1, 1, 1]);
    });

    test('flows that alternate are merged each by itself, in the order of their first packets', () => {
      const [a, b] = [flow(), flow({ port: 41_000, sequence: 77 })];
      const packets = [a.next(), b.next(300), a.next(), b.next(300), b.next(300), a.next()];
      assert.deepEqual(merged(packets), [3, 3]);
      const sizes = coalesce(packets).entries.map(({ vnet }) => vnet.gsoSize);
      assert.deepEqual(sizes, [1400, 300]);
    });

    test('of more than 16 flows the one that began first is closed', () => {
      const senders = Array.from({ length: 17 }, (_, port) => flow({ port }));
      const packets = [...senders, ...senders.toReversed()].map((sender) => sender.next());
      assert.deepEqual(merged(packets), [1, ...new Array<number>(16).fill(2), 1]);
    });

    test('segments that were left with the pseudo-header sum are merged, alone they are completed', () => {
      const sender = flow();
      const whole = [sender.next(), sender.next(), sender.next(1400, { flags: FLAG.ACK | FLAG.SYN })];
      const { entries } = coalesce([leftPartial(whole[0]!), whole[1]!, leftPartial(whole[2]!)]);
      assert.deepEqual(
        entries.map(({ packets }) => packets),
        [2, 1],
      );
      assert.deepEqual(
        entries.flatMap(({ vnet, packet }) => cutByKernel(vnet, packet)),
        whole,
      );
    });
  });

  describe(`IPv${version}, UDP`, () => {
    const flow = (base: Partial<FlowPacket> = {}): Flow => new Flow({ version, protocol: 17, ...base });

    test('datagrams of one length are merged where the device takes them, the last may be shorter', () => {
      const sender = flow();
      const packets = [500, 500, 200, 200].map((bytes) => sender.next(bytes));
      assert.deepEqual(merged(packets, UDP), [3, 1]);
      assert.deepEqual(merged(packets), [1, 1, 1, 1]);
      assert.equal(coalesce(packets, UDP).entries[0]!.vnet.gsoType, GSO.UDP);
    });

    test('flush: a longer datagram, an empty one, another TTL, TOS or port', () => {
      for (const [bytes, change] of [
        [600, {}],
        [0, {}],
        [500, { ttl: 9 }],
        [500, { tos: 1 }],
        [500, { port: 9 }],
      ] as const) {
        const sender = flow();
        assert.deepEqual(merged([sender.next(500), sender.next(bytes, change)], UDP), [1, 1]);
      }
    });

    test('flush: a wrong checksum, and a length field that says less than the packet holds', () => {
      const sender = flow();
      const [a, b] = [sender.next(500), sender.next(500)];
      assert.deepEqual(merged([a, damaged(b)], UDP), [1, 1]);
      assert.deepEqual(merged([damaged(a), b], UDP), [1, 1]);
      const short = b.slice();
      put16(short, (version === 4 ? 20 : 40) + 4, 500);
      assert.deepEqual(merged([a, short], UDP), [1, 1]);
      assert.deepEqual(merged([short, sender.next(500)], UDP), [1, 1]);
    });

    test('flush: at most 64 datagrams', () => {
      const sender = flow();
      const packets = Array.from({ length: 70 }, () => sender.next(32));
      assert.deepEqual(merged(packets, UDP), [64, 6]);
    });
  });
}

describe('IPv4 alone', () => {
  test('flush: an ID that does not go on by one', () => {
    for (const id of [3, 0xfffe]) {
      const sender = new Flow({ id: 1, dontFragment: false });
      assert.deepEqual(merged([sender.next(), sender.next(1400, { id }), sender.next()]), [1, 1, 1]);
    }
  });

  test('flush: DF differs', () => {
    const sender = new Flow();
    assert.deepEqual(merged([sender.next(), sender.next(1400, { dontFragment: false })]), [1, 1]);
  });

  test('with DF, packets of one and the same ID are merged, since it means nothing there; without it they are not', () => {
    for (const [dontFragment, expected] of [
      [true, [3, 1]],
      [false, [1, 1, 1, 1]],
    ] as const) {
      const sender = new Flow({ dontFragment });
      const packets = [0, 0, 0, 5].map((id) => sender.next(1400, { id }));
      assert.deepEqual(
        coalesce(packets).entries.map((entry) => entry.packets),
        expected,
      );
    }
  });

  test('flush: IP options', () => {
    const sender = new Flow();
    const ipOptions = Uint8Array.of(1, 1, 1, 0);
    const packets = [{}, { ipOptions }, { ipOptions }, {}].map((change) => sender.next(1400, change));
    assert.deepEqual(merged(packets), [1, 1, 1, 1]);
  });

  test('flush: a fragment between the same hosts, whichever it is', () => {
    for (const fragment of [{ moreFragments: true }, { offsetUnits: 3 }]) {
      const sender = new Flow();
      const packets = [sender.next(), sender.next(1400, { ...fragment, id: 5 }), sender.next()];
      assert.deepEqual(merged(packets), [1, 1, 1]);
      const other = new Flow({ host: 9 });
      const between = [sender.next(), other.next(1400, fragment)];
      // The ID and the sequence number go on, so only order could keep the third packet out.
      assert.deepEqual(merged([...between, sender.next()]), [2, 1]);
    }
  });

  test('a UDP datagram without a checksum has none to verify, and stays alone', () => {
    const sender = new Flow({ protocol: 17 });
    const packets = [sender.next(500), sender.next(500)].map((packet) => {
      put16(packet, 26, 0);
      return packet;
    });
    assert.deepEqual(merged(packets, UDP), [1, 1]);
  });

  test('packets that are no TCP or UDP keep their bytes and disturb nobody', () => {
    const sender = new Flow();
    const icmp = sender.next(100).slice(0, 60);
    icmp[9] = 1;
    put16(icmp, 2, 60);
    sealHeader(icmp);
    const next = new Flow({ sequence: 5 });
    assert.deepEqual(
      merged([next.next(), icmp, next.next(), new Uint8Array(0), Uint8Array.of(0x45)]),
      [2, 1, 1, 1],
    );
  });

  test('a TCP header that is cut or lies about its length is passed on as it is', () => {
    for (const offset of [0x00, 0x40, 0xf0]) {
      const sender = new Flow();
      const packet = sender.next(20);
      packet[32] = offset;
      sealTransport(packet);
      assert.deepEqual(merged([packet, packet]), [1, 1]);
    }
    const cut = new Flow().next(20).slice(0, 36);
    put16(cut, 2, 36);
    sealHeader(cut);
    assert.deepEqual(merged([cut, cut]), [1, 1]);
  });
});
