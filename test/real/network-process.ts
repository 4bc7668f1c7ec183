import '../../node/polyfill.ts';
import { createInterface } from 'node:readline';
import { generateKeyPair, privateKeyFromRaw } from '@libp2p/crypto/keys';
import { checkNetwork, type Wanted } from '../../node/doctor/network-checks.ts';
import { enrol } from '../../node/enrol/enrol-client.ts';
import { EnrolServer } from '../../node/enrol/enrol-server.ts';
import { findMeshes } from '../../node/enrol/find-meshes.ts';
import { MdnsDiscovery } from '../../node/network/mdns-discovery.ts';
import { createNetwork, type NetworkOptions } from '../../node/network/network.ts';
import type { ChangeOutcome } from '../../protocol/changes.ts';
import type { Report } from '../../protocol/report.ts';

/**
 * A network in a process of its own, for tests that kill it or put it into a namespace. JSON lines: commands by stdin,
 * events and answers by stdout. Options in argv[2]; `key` is the raw Ed25519 key in hex.
 */
type Options = Partial<Pick<NetworkOptions, 'listen' | 'peers' | 'port' | 'evidencePort'>> & {
  key?: string;
  mdns?: boolean;
  /** As kept on disk. */
  known?: { node: string; addresses: string[] }[];
};
type Command = { id: number; do: string; with?: unknown };

const say = (line: object): void => {
  process.stdout.write(`${JSON.stringify(line)}\n`);
};
const options = JSON.parse(process.argv[2] ?? '{}') as Options;
const key = options.key ? privateKeyFromRaw(Buffer.from(options.key, 'hex')) : await generateKeyPair('Ed25519');
const line = (level: string) => (fields: Record<string, unknown>, sentence: string) =>
  say({ event: 'log', level, sentence, fields });
const outcomes: ((outcome: ChangeOutcome) => void)[] = [];

const log = { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') };
const mdns = options.mdns ? new MdnsDiscovery(log, options.listen ?? []) : null;
await mdns?.open();
const network = await createNetwork({
  privateKey: key,
  listen: options.listen ?? [],
  peers: options.peers ?? [],
  mdns,
  port: options.port ?? null,
  evidencePort: options.evidencePort ?? null,
  known: async () => options.known ?? [],
  remember: async () => {},
  log,
  events: {
    message: (from, message) => say({ event: 'message', from, message }),
    report: (from, report) => say({ event: 'report', from, seq: report.seq }),
    connected: (node) => say({ event: 'connected', node }),
    disconnected: (node) => say({ event: 'disconnected', node, at: Date.now() }),
    ask: async () => ({ kind: 'refused', because: 'a test' }),
  },
});
const enrolServer = new EnrolServer({
  door: network.door,
  change: (change) => {
    say({ event: 'change', change });
    return new Promise((resolve) => outcomes.push(resolve));
  },
  meshKey: () => 'ab'.repeat(32),
  unseal: (sealed) => sealed,
  wallMs: () => Date.now(),
  log,
});

const commands: Record<string, (given: never) => unknown> = {
  ledger: (ledger: Parameters<typeof enrolServer.onLedger>[0]) => {
    network.setLedger(ledger);
    enrolServer.onLedger(ledger);
  },
  outcome: (outcome: ChangeOutcome) => outcomes.shift()?.(outcome),
  find: ({ ms, count }: { ms: number; count: number }) =>
    findMeshes(network.door, ms, (found) => found.length >= count),
  enrol: ({ node, addresses, name }: { node: string; addresses: string[]; name: string }) =>
    enrol(
      network.door,
      { node, addresses },
      { name, store: name, witness: false, invite: null },
      { words: (words) => say({ event: 'words', words }), pending: () => {} },
    ),
  publish: (report: Report) => network.publish(report),
  probe: (node: string) => network.probe(node),
  connected: () => network.connected(),
  addressOf: (node: string) => network.addressOf(node),
  doctor: (wanted: Wanted) => checkNetwork(wanted),
  problems: () => network.diagnosis.problems(),
  stop: async () => {
    enrolServer.close();
    await network.stop();
    process.exit(0);
  },
};

await network.start();
say({
  event: 'started',
  node: network.self,
  addresses: network.addresses(),
  port: network.port,
  evidencePort: network.evidencePort,
});
createInterface({ input: process.stdin }).on('line', async (text) => {
  const command = JSON.parse(text) as Command;
  try {
    const answer = await commands[command.do]?.(command.with as never);
    say({ answer: command.id, value: answer ?? null });
  } catch (error) {
    say({ answer: command.id, failed: String(error) });
  }
});
