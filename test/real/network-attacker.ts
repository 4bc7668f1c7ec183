import { generateKeyPair } from '@libp2p/crypto/keys';
import { identify } from '@libp2p/identify';
import type { Connection, PrivateKey, Stream } from '@libp2p/interface';
import { noise } from '@libp2p/noise';
import { tcp } from '@libp2p/tcp';
import { yamux } from '@libp2p/yamux';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p, type Libp2p } from 'libp2p';
import { multiaddrOf } from '../../node/network/addresses.ts';
import { ledgerOf, type Party, party, until } from './network-party.ts';

/** A plain libp2p node that keeps to no rule of ours. */
export interface Attacker {
  id: string;
  key: PrivateKey;
  libp2p: Libp2p;
  connect(to: Party): Promise<Connection>;
  stop(): Promise<void>;
}

const attackers: Attacker[] = [];

/** With the `key` of a member that was forgotten, or a stranger's. */
export async function attacker(known?: PrivateKey): Promise<Attacker> {
  const key = known ?? (await generateKeyPair('Ed25519'));
  const libp2p = await createLibp2p({
    privateKey: key,
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionMonitor: { enabled: false },
    connectionGater: { denyDialMultiaddr: () => false },
    services: { identify: identify({ runOnConnectionOpen: false }) },
  });
  const made: Attacker = {
    id: libp2p.peerId.toString(),
    key,
    libp2p,
    connect: (to) =>
      libp2p.dial(multiaddr(`${multiaddrOf({ host: '127.0.0.1', port: to.network.port })}/p2p/${to.id}`)),
    stop: async () => libp2p.stop(),
  };
  attackers.push(made);
  return made;
}

/** Two honest members and a third that is a member too, but sends what it likes. */
export async function meshWithRotten(): Promise<{ a: Party; b: Party; rotten: Attacker }> {
  const [a, b] = [await party('a'), await party('b')];
  const rotten = await attacker();
  const ledger = ledgerOf([a, b]);
  const entry = ledger.nodes[a.id];
  if (entry) ledger.nodes[rotten.id] = { ...entry, name: 'rotten', addresses: [] };
  for (const { network } of [a, b]) network.setLedger(ledger);
  await until(() => a.network.connected().length === 1, 'a and b are connected');
  return { a, b, rotten };
}

export const endAttackers = async (): Promise<void> => {
  await Promise.all(attackers.splice(0).map((one) => one.stop()));
};

/** What became of a stream after some bytes: everything that came back, and how it ended. */
export async function throwAt(
  stream: Stream,
  bytes: Uint8Array,
  limitMs = 5000,
): Promise<{ ended: boolean; heard: Uint8Array }> {
  const parts: Uint8Array[] = [];
  stream.addEventListener('message', ({ data }) => {
    parts.push(data instanceof Uint8Array ? data : data.subarray());
  });
  const ended = new Promise<boolean>((resolve) => {
    stream.addEventListener('close', () => resolve(true));
    stream.addEventListener('end', () => resolve(true));
    if (stream.status !== 'open') resolve(true);
    setTimeout(() => resolve(false), limitMs).unref();
  });
  try {
    stream.send(bytes);
  } catch {
    // The other side was faster.
  }
  return { ended: await ended, heard: Buffer.concat(parts) };
}

/** A frame as FrameChannel reads it. */
export function frame(payload: Uint8Array | string | object): Uint8Array {
  const body =
    payload instanceof Uint8Array
      ? payload
      : new TextEncoder().encode(typeof payload === 'string' ? payload : JSON.stringify(payload));
  const head = Buffer.alloc(4);
  head.writeUInt32BE(body.byteLength);
  return Buffer.concat([head, body]);
}
