import { publicKeyToProtobuf } from '@libp2p/crypto/keys';
import { RPC } from '@libp2p/gossipsub/message';
import type { PrivateKey, Stream } from '@libp2p/interface';
import { peerIdFromPrivateKey } from '@libp2p/peer-id';
import { afterEach, expect, it } from 'vitest';
import { encode } from '../../protocol/codec.ts';
import { limits } from '../../protocol/limits.ts';
import { names } from '../../protocol/names.ts';
import type { Report } from '../../protocol/report.ts';
import { endAttackers, meshWithRotten } from './network-attacker.ts';
import { endParties, pause, reportOf, until } from './network-party.ts';

afterEach(async () => {
  await endAttackers();
  await endParties();
});

const topic = names.reportTopic('mesh-1');

interface Signed {
  /** Whom it names as its author. */
  author: PrivateKey;
  /** Who really signs. */
  signer: PrivateKey;
  seqno: number;
}

/** One gossip frame with one message, signed as gossipsub signs. */
async function gossipFrame(report: Report, { author, signer, seqno }: Signed): Promise<Uint8Array> {
  const number = Buffer.alloc(8);
  number.writeBigUInt64BE(BigInt(seqno));
  const message = {
    from: peerIdFromPrivateKey(author).toMultihash().bytes,
    data: encode(report, limits.reportBytes),
    seqno: number,
    topic,
  };
  const signature = await signer.sign(Buffer.concat([Buffer.from('libp2p-pubsub:'), RPC.Message.encode(message)]));
  const key = publicKeyToProtobuf(author.publicKey);
  const rpc = RPC.encode({ subscriptions: [], messages: [{ ...message, signature, key }] });
  const length: number[] = [];
  for (let left = rpc.byteLength; left > 0 || length.length === 0; left >>>= 7)
    length.push((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
  return Buffer.concat([Buffer.from(length), rpc]);
}

it('a member can neither forge the reports of another nor bring back old ones', async () => {
  const { a, b, rotten } = await meshWithRotten();
  await until(() => a.network.diagnosis.listeners().includes(b.id), 'b listens');
  const stream: Stream = await (await rotten.connect(a)).newStream('/meshsub/1.2.0');
  const say = async (report: Report, signed: Signed): Promise<void> => {
    stream.send(await gossipFrame(report, signed));
    await pause(300);
  };
  const ofB = (): number[] => a.reports.filter(({ from }) => from === b.id).map(({ report }) => report.seq);
  const genuine = { author: b.key, signer: b.key };

  // Passed on by the rotten one, but b's own: that is what gossip is.
  await say(reportOf(b, 5), { ...genuine, seqno: 5 });
  await until(() => ofB().includes(5), 'a genuine report arrived');
  // In b’s name, by another key; in its own name, about b.
  await say(reportOf(b, 6), { author: b.key, signer: rotten.key, seqno: 6 });
  await say(reportOf(b, 7), { author: rotten.key, signer: rotten.key, seqno: 7 });
  // The same again, and an older one that b had signed once.
  await say(reportOf(b, 5), { ...genuine, seqno: 5 });
  await say(reportOf(b, 4), { ...genuine, seqno: 4 });
  expect(ofB()).toEqual([5]);
  expect(a.network.diagnosis.counters().reportsOld).toBe(1);

  b.network.publish(reportOf(b, 8));
  await until(() => ofB().includes(8), 'b is still heard');
  expect(ofB()).toEqual([5, 8]);
});
