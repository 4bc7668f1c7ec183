import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { OwnHosting } from '../../node/agent/own-hosting.ts';
import { systemClock } from '../../node/clock.ts';
import { Restic } from '../../node/hosting/vault/restic.ts';
import type { Answer, Ask } from '../../protocol/asks.ts';
import { abilities, type Ledger } from '../../protocol/ledger.ts';
import { isRefusal } from '../../scheduler/ledger-edit.ts';
import { applyChange } from '../../scheduler/membership.ts';
import { install } from '../bench/debian.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';

/** What two agents have of GitLab, as they load it: kang backs one up that it protects, desktop-1 keeps what comes. */
const folder = mkdtempSync(join(tmpdir(), 'autogit-vault-rooms-'));
const clock = systemClock();
const founded = foundedMesh({ store: 's' });
const can = [...abilities];
const K = { ...founded.nodes.K!, can };
let ledger: Ledger = {
  ...founded,
  nodes: { K, D: { ...K, name: 'desktop-1' } },
  gitlab: {
    ...founded.gitlab,
    protected: {
      ...{ node: 'K', data: 'k3v9q2m4', container: 'gitlab', folder: join(folder, 'none'), since: 0 },
      because: 'asked on kang',
    },
  },
};
beforeAll(() => install({ restic: 'restic' }), 300_000);
afterAll(() => rmSync(folder, { recursive: true }));

function agent(nodeId: string, ask: (node: string, ask: Ask) => Promise<Answer>): OwnHosting {
  const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
  const network = { addresses: () => [], ask, addressOf: () => '127.0.0.1:1' };
  const box = { canOpen: () => true, unseal: (text: string) => text, sealForVoters: (text: string) => text };
  return new OwnHosting(
    {
      ...{ nodeId, home: join(folder, nodeId), version: '0', dockerHost: null, settingsFile: '', holdsCopies: true },
      ...{ hasDrills: false, copyRateBytes: null, clock, log: log as never, network },
    },
    {
      ...{
        watch: {} as never,
        box: box as never,
        ledger: () => ledger,
        feed: () => undefined,
        view: () => ({}) as never,
      },
      change: async (change) => {
        const after = applyChange(ledger, change, clock.wallMs());
        if (isRefusal(after)) return { state: 'refused', because: after.refused };
        // The leader's answer is sooner than what it has committed.
        setTimeout(() => (ledger = after), 400);
        return { state: 'done', because: '' };
      },
    },
  );
}

it('named on one machine, backups of GitLab get their repository on the other', async () => {
  const desktop = agent('D', () => Promise.reject(new Error('it asks nobody')));
  const kang = agent('K', (node, ask) => {
    expect([node, ask.kind]).toEqual(['D', 'open-vault-door']);
    return desktop.openDoor('K', ask as never);
  });
  const begin = (target: string, password = 'a-key-of-the-mesh', isNew = true) =>
    kang.answer({
      ...{ kind: 'begin-vault', target, password, isNew, credentials: {} },
      ...{ everyMs: 86_400_000, keep: { daily: 7, weekly: 4, monthly: 6 } },
    });
  expect(await begin('node:kang')).toMatchObject({ kind: 'failed', because: expect.stringContaining('itself') });
  expect(await begin('node:desktop-1')).toMatchObject({
    kind: 'said',
    because: expect.stringMatching(/^backups of GitLab go to node:desktop-1: .* left for them$/),
  });
  expect(ledger.gitlab.vault).toMatchObject({ target: 'node:desktop-1', keeper: 'D' });
  const already = (target: string) => ({ kind: 'failed', because: expect.stringContaining(`go to ${target} already`) });
  expect(await begin('node:desktop-1')).toMatchObject(already('node:desktop-1'));
  const [mesh] = readdirSync(join(folder, 'D/gitlab-vault'));
  expect(readdirSync(join(folder, 'D/gitlab-vault', mesh as string, 'repository')).sort()).toEqual(
    ['config', 'data', 'index', 'keys', 'locks', 'snapshots'].sort(),
  );
  // Two people at once, each with a key of his own: one names it, and the other reads that it is named.
  const place = join(folder, 'backups');
  const ends = await Promise.all([begin(place), begin(place, 'another-key-of-the-mesh')]);
  expect(ends).toMatchObject([
    {
      kind: 'said',
      because: expect.stringContaining(
        `go to ${place}, and no more to node:desktop-1: what is there stays, and is opened`,
      ),
    },
    already(place),
  ]);
  expect(JSON.parse(ledger.gitlab.vault!.secret)).toMatchObject({ password: 'a-key-of-the-mesh' });
  // What is not the mesh's is named for what it is, with either key.
  const others = join(folder, 'others');
  await new Restic({ target: others, password: 'somebody-else', credentials: {} }, join(folder, 'cache')).init(
    new AbortController().signal,
  );
  expect(await begin(others)).toMatchObject({
    because: expect.stringMatching(/ has a repository already, which another/),
  });
  expect(await begin(others, 'a-key-of-the-mesh', false)).toMatchObject({
    because: `that key does not open the repository at ${others}`,
  });
  await kang.stop();
  await desktop.stop();
}, 60_000);
