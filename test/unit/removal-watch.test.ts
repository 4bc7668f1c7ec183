import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { RemovalWatch } from '../../node/agent/removal-watch.ts';
import type { Farewell } from '../../node/enrol/membership-question.ts';
import { writeFallback } from '../../node/fallback/fallback-files.ts';
import { PageAccess } from '../../node/page/page-access.ts';
import { places } from '../../node/store/home.ts';
import { beginAnew, type Removal, writeRemoval } from '../../node/store/removal.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';

const base = foundedMesh({ addresses: ['/ip4/10.0.0.1/tcp/7117'] });
const ledger: Ledger = {
  ...base,
  stamp: { term: 3, version: 9 },
  nodes: { ...base.nodes, D: { ...base.nodes.K!, name: 'desktop' }, P: { ...base.nodes.K!, name: 'plain' } },
  configuration: { voters: { K: { store: 's', weight: 2 }, D: { store: 't', weight: 2 } }, next: null },
};
const said = (more: Partial<Farewell> = {}): Farewell => ({
  meshId: 'm',
  at: 77,
  by: 'root on kang',
  era: ledger.era,
  stamp: { term: 3, version: 10 },
  ...more,
});

function watching(answer: Farewell | null, refusing: string[] = ['K']) {
  const asked: string[] = [];
  const told: Removal[] = [];
  let now = 0;
  let leads = false;
  const watch = new RemovalWatch({
    self: 'D',
    ledger: () => ledger,
    hasLeader: () => leads,
    refusedBy: () => refusing,
    ask: async ({ node }) => {
      asked.push(node);
      return answer;
    },
    removed: (removal) => told.push(removal),
    now: () => now,
  });
  const later = async (ms: number): Promise<void> => {
    now += ms;
    await watch.look();
  };
  return { watch, asked, told, later, lead: (does: boolean) => (leads = does) };
}

describe('a machine that its mesh removed', () => {
  it('believes a voter that refuses it, and says so once', async () => {
    const { asked, told, later } = watching(said());
    await later(0);
    await later(60_000);
    expect(asked).toEqual(['K']);
    expect(told).toEqual([{ mesh: 'home', at: 77, by: 'root on kang' }]);
  });

  it('believes nobody about an older ledger: the removal may have been taken back since', async () => {
    for (const old of [{ stamp: { term: 3, version: 9 } }, { era: { id: 'e', counter: -1 } }, { meshId: 'other' }]) {
      const { told, later } = watching(said(old));
      await later(0);
      expect(told).toEqual([]);
    }
    const { told, later } = watching(said({ era: { id: 'f', counter: 1 }, stamp: { term: 0, version: 1 } }));
    await later(0);
    expect(told).toHaveLength(1);
  });

  it('asks voters only, those that refuse it every 3 s, and the others while nobody leads for long', async () => {
    const plain = watching(said(), ['P']);
    plain.lead(true);
    await plain.later(100);
    expect(plain.asked).toEqual([]);
    plain.lead(false);
    await plain.later(4_000);
    expect(plain.asked).toEqual([]);
    await plain.later(2_000);
    expect(plain.asked).toEqual(['K']);
    const refused = watching(null);
    for (const ms of [0, 1_000, 1_000, 1_500]) await refused.later(ms);
    expect(refused.asked).toEqual(['K', 'K']);
  });

  it('reads it in the ledger where that still comes', () => {
    const { watch, told } = watching(null);
    watch.onLedger(ledger);
    const { D: _, ...nodes } = ledger.nodes;
    watch.onLedger({ ...ledger, nodes, forgotten: { D: 5 }, forgottenBy: { D: 'ann on kang' } });
    expect(told).toEqual([{ mesh: 'home', at: 5, by: 'ann on kang' }]);
  });
});

describe('a removed machine', () => {
  it('keeps who it is and its logs alone: nothing that opens anything in the mesh that it was in, or lets anybody into the next one', () => {
    const home = mkdtempSync(join(tmpdir(), 'autogit-removed-'));
    try {
      const { identity, log, store, mirrors, caches, work, history, page, fallback } = places(home);
      for (const folder of [store, mirrors, caches, work, history, join(home, 'runs')]) {
        mkdirSync(folder);
        writeFileSync(join(folder, 'file'), 'x');
      }
      for (const file of [identity, log]) writeFileSync(file, 'x');
      const access = (): PageAccess =>
        new PageAccess({ file: page, wallMs: () => 1_000, onEnd: () => undefined, warn: () => undefined });
      const before = access();
      const session = before.enter(before.link('owner', 60_000).code);
      const { key } = before.makeKey('owner', null);
      writeFallback(fallback, 'D', '# made by autogit-node\ntoken = "glrt-1"\n');
      writeRemoval(home, { mesh: 'home', at: 77, by: 'root on kang' });

      expect(beginAnew(home)?.by).toBe('root on kang');
      expect(readdirSync(home).sort()).toEqual(['agent.log', 'identity.key']);
      const after = access();
      expect(after.session(session!.id, [session!.secret])).toBeNull();
      expect(after.key(key)).toBeNull();
    } finally {
      rmSync(home, { recursive: true, force: true });
    }
  });
});
