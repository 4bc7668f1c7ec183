import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { EnrolOutcome } from '../../node/enrol/enrol-client.ts';
import type { FoundMesh } from '../../node/enrol/find-meshes.ts';
import type { Change } from '../../protocol/changes.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { bundleNetworkProcess, bundleProcess, type Child, startChild } from '../real/network-child.ts';
import { until } from '../real/network-party.ts';
import { buildLan, type Lan } from './lan.ts';

let bundle = { path: '', remove: async () => {} };
let lan: Lan | null = null;
let children: Child[] = [];
beforeAll(async () => {
  bundle = await bundleNetworkProcess();
});
afterAll(() => bundle.remove());
afterEach(async () => {
  await Promise.all(children.splice(0).map((one) => one.kill('SIGKILL')));
  lan?.remove();
  lan = null;
});

/** Plays the leader for a founder's enrolment server: applies a paired approval and gives the ledger to all members. */
function lead(founder: Child, all: Child[], founding: Ledger): () => Ledger {
  let ledger = founding;
  founder.onSaid = ({ event, change }) => {
    if (event !== 'change') return;
    const asked = change as Change;
    const entry = ledger.nodes[founder.node];
    if (asked.kind === 'approve-paired' && entry) {
      const { name, addresses, store } = asked.approval;
      ledger = { ...ledger, nodes: { ...ledger.nodes, [asked.node]: { ...entry, name, addresses, store } } };
    }
    void founder.order('outcome', { state: 'done', because: 'committed' });
    for (const one of all) if (one.node in ledger.nodes) void one.order('ledger', ledger);
  };
  return () => ledger;
}

const founding = (founder: Child): Ledger =>
  foundedMesh({
    meshId: 'mesh-1',
    era: 'era-1',
    node: founder.node,
    store: 'store',
    addresses: founder.addresses,
    wallMs: Date.now(),
    pairUntil: Date.now() + 600_000,
  });

const probed = async (child: Child, node: string): Promise<string> =>
  (await child.order<{ result: string }>('probe', node)).result;

const connectedTo = async (child: Child): Promise<number> => (await child.order<string[]>('connected')).length;

it('is understood by libp2p’s own mDNS, and understands it', async () => {
  const here = buildLan(2, { routes: true });
  lan = here;
  const stock = await bundleProcess(fileURLToPath(new URL('./stock-mdns.ts', import.meta.url)));
  const [command, ...args] = [...here.inside(1), process.execPath, stock.path];
  const other = spawn(command as string, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    let text = '';
    other.stdout.on('data', (data) => (text += data));
    const ours = await startChild(bundle.path, { mdns: true }, here.inside(2));
    children = [ours];
    await until(() => text.split('\n').slice(1).includes(ours.node), 'it sees ours');
    const itself = text.split('\n')[0] as string;
    await until(() => ours.said.some((said) => JSON.stringify(said).includes(itself)), 'ours sees it');
  } finally {
    other.kill('SIGKILL');
    await stock.remove();
  }
});

describe('three machines with nothing shared but a bridge', () => {
  it('find each other by mDNS alone, let each other in, and know a pulled cable from a killed agent', async () => {
    const here = buildLan(3);
    lan = here;
    children = await Promise.all([1, 2, 3].map((n) => startChild(bundle.path, { mdns: true }, here.inside(n))));
    const [kang, second, third] = children as [Child, Child, Child];
    for (const [at, child] of children.entries()) {
      expect(child.port).toBe(7117);
      expect(child.addresses).toEqual([
        `/ip4/10.77.0.${at + 1}/tcp/7117/p2p/${child.node}`,
        `evidence://10.77.0.${at + 1}:${child.evidencePort}`,
      ]);
    }
    expect(await kang.order('problems')).toEqual([]);

    const ledger = lead(kang, children, founding(kang));
    await kang.order('ledger', ledger());
    for (const [name, newcomer] of [
      ['desktop-1', second],
      ['desktop-2', third],
    ] as const) {
      const begun = Date.now();
      const [found] = await newcomer.order<FoundMesh[]>('find', { ms: 20_000, count: 1 });
      expect(found).toMatchObject({ meshName: 'home' });
      if (process.env.MEASURE) console.log(`mesh found after ${Date.now() - begun} ms`);
      // Whoever was found first may be a member that was let in a moment ago; only kang's enrolment server has a leader here.
      const at = { node: kang.node, addresses: kang.addresses, name };
      const outcome = await newcomer.order<EnrolOutcome>('enrol', at);
      expect(outcome).toMatchObject({ kind: 'approved', because: expect.any(String) });
    }
    const begun = Date.now();
    await until(
      async () => (await Promise.all(children.map(connectedTo))).every((count) => count === 2),
      'each is connected to both others',
      30_000,
    );
    if (process.env.MEASURE) console.log(`all connected after ${Date.now() - begun} ms more`);

    // The cable is out: silence, and both others see it within seconds.
    const third3 = third.node;
    here.unplug(3);
    const unplugged = Date.now();
    const lost = (child: Child): boolean =>
      child.said.some(({ event, node, at }) => event === 'disconnected' && node === third3 && (at ?? 0) >= unplugged);
    expect(await kang.order('probe', third3)).toMatchObject({ result: 'silent' });
    await until(() => lost(kang) && lost(second), 'both have noticed', 20_000);
    if (process.env.MEASURE) console.log(`cable out, noticed after ${Date.now() - unplugged} ms`);
    expect(await connectedTo(kang)).toBe(1);

    // Back in: they find together again by themselves.
    here.plug(3);
    const plugged = Date.now();
    await until(async () => (await connectedTo(third)) === 2, 'the third is back', 30_000);
    if (process.env.MEASURE) console.log(`cable in, connected after ${Date.now() - plugged} ms`);
    // On a busy machine one connect may take longer than a probe waits.
    await until(async () => (await probed(kang, third3)) === 'accepted', 'a probe is accepted again');

    // The agent is killed: its machine's kernel says so.
    await third.kill('SIGKILL');
    expect(await kang.order('probe', third3)).toMatchObject({ result: 'refused' });
    expect(await second.order('probe', third3)).toMatchObject({ result: 'refused' });
  });
});
