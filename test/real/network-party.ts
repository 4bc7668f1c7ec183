import { generateKeyPair } from '@libp2p/crypto/keys';
import type { PrivateKey } from '@libp2p/interface';
import { createNetwork, type LanNetwork, type NetworkOptions } from '../../node/network/network.ts';
import type { NetworkEvents } from '../../node/ports.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { PeerMessage } from '../../protocol/messages.ts';
import type { Report } from '../../protocol/report.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';

/** One network of a test, with everything that it told. */
export interface Party {
  name: string;
  key: PrivateKey;
  network: LanNetwork;
  id: string;
  messages: { from: string; message: PeerMessage; era: string | null }[];
  reports: { from: string; report: Report }[];
  events: string[];
  log: { level: string; event: unknown; sentence: string }[];
  remembered: Map<string, string[]>;
}

const parties: Party[] = [];

/** Builds and starts a network on 127.0.0.1, any port, without mDNS. */
export async function party(name: string, more: Partial<NetworkOptions> = {}): Promise<Party> {
  const made = await prepared(name, more);
  await made.network.start();
  parties.push(made);
  return made;
}

/** A party that does not listen yet, and that nobody stops. */
export async function prepared(name: string, more: Partial<NetworkOptions> = {}): Promise<Party> {
  const key = more.privateKey ?? (await generateKeyPair('Ed25519'));
  const made = { name, key, messages: [], reports: [], events: [], log: [], remembered: new Map() } as unknown as Party;
  const line = (level: string) => (fields: Record<string, unknown>, sentence: string) => {
    made.log.push({ level, event: fields.event, sentence });
    if (process.env.NETWORK_LOG)
      process.stderr.write(
        `${(performance.now() / 1000).toFixed(2)} ${name} ${level} ${sentence} ${JSON.stringify(fields)}\n`,
      );
  };
  const events: NetworkEvents = {
    message: (from, message, era) => made.messages.push({ from, message, era: era?.id ?? null }),
    report: (from, report) => made.reports.push({ from, report }),
    connected: (node) => made.events.push(`connected ${node}`),
    disconnected: (node) => made.events.push(`disconnected ${node}`),
    ask: async (_, ask) =>
      ask.kind === 'log' ? { kind: 'log', text: `${name}: ${ask.lines}` } : { kind: 'refused', because: 'not asked' },
    ...more.events,
  };
  made.network = await createNetwork({
    listen: ['/ip4/127.0.0.1/tcp/0'],
    peers: [],
    mdns: null,
    known: async () => [],
    remember: async (node, addresses) => void made.remembered.set(node, addresses),
    log: { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') },
    ...more,
    privateKey: key,
    events,
  });
  made.id = made.network.self;
  return made;
}

/** Stops all networks of the test. */
export async function endParties(): Promise<void> {
  await Promise.all(parties.splice(0).map(({ network }) => network.stop()));
}

/** A committed ledger in which all of these are members, as agents would have it. */
export function ledgerOf(members: Party[], change: Partial<Ledger> = {}): Ledger {
  const first = members[0];
  if (!first) throw new Error('a mesh has members');
  const ledger = foundedMesh({
    meshId: 'mesh-1',
    era: 'era-1',
    node: first.id,
    name: first.name,
    store: 'store',
    addresses: first.network.addresses(),
    wallMs: Date.now(),
  });
  const founder = ledger.nodes[first.id];
  for (const { id, name, network } of members)
    if (founder) ledger.nodes[id] = { ...founder, name, addresses: network.addresses() };
  return { ...ledger, ...change };
}

/** Gives all the same ledger and waits until every pair is connected. */
export async function meet(members: Party[], change: Partial<Ledger> = {}): Promise<Ledger> {
  const ledger = ledgerOf(members, change);
  for (const { network } of members) network.setLedger(ledger);
  await until(() => members.every((one) => one.network.connected().length === members.length - 1), 'all are connected');
  return ledger;
}

/** Polls until it holds; fails with the sentence after `limitMs`. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  sentence: string,
  limitMs = 15_000,
): Promise<void> {
  const deadline = Date.now() + limitMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`it never came to be that ${sentence}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export function reportOf(from: Party, seq: number, more: Partial<Report> = {}): Report {
  const room = { cpuMillis: 1000, memoryBytes: 1, diskBytes: 1, gpus: [] };
  return {
    v: 1,
    node: from.id,
    name: from.name,
    boot: 'boot',
    store: 'store',
    seq,
    since: 1000,
    wallMs: 1000,
    version: '0.1.0',
    addresses: from.network.addresses(),
    measured: {
      arch: 'amd64',
      os: 'linux',
      capacity: room,
      usedCpuMillis: 0,
      usedMemoryBytes: 0,
      usedDiskBytes: 0,
      gpus: [],
      labels: [],
      executors: [],
      maxRuns: null,
      reserveMemoryBytes: 0,
      owner: 'away',
      paused: 'no',
      pausedBecause: null,
      healthy: true,
      unhealthyBecause: null,
    },
    room,
    runs: [],
    reserved: [],
    ...more,
  };
}
