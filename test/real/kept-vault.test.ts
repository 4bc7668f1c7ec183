import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket, connect as tcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { VaultKeepers } from '../../node/agent/vault-keepers.ts';
import { KeptVault, keptTimings } from '../../node/hosting/keep/kept-vault.ts';
import { keeperTimings } from '../../node/hosting/vault/keeper-way.ts';
import type { Restic } from '../../node/hosting/vault/restic.ts';
import { beginVault, openVault, openWithKey, type VaultKeys } from '../../node/hosting/vault/vault-opening.ts';
import { RateLimit } from '../../node/hosting/wire/polite-sender.ts';
import { Turns } from '../../node/hosting/wire/turns.ts';
import { abilities, type Ledger } from '../../protocol/ledger.ts';
import { isRefusal } from '../../scheduler/ledger-edit.ts';
import { applyChange } from '../../scheduler/membership.ts';
import { install } from '../bench/debian.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';

/** The real restic on kang, which hosts; desktop-1 keeps its backups. Over real TCP, through a way that can be cut. */
/** Bytes that its disk has: the real one's change while a test runs. */
const disk = vi.hoisted(() => ({ freeBytes: 1e12 }));
vi.mock('../../node/disk-use.ts', async (real) => ({
  ...(await real<object>()),
  diskOf: () => ({ totalBytes: 1e13, freeBytes: disk.freeBytes }),
  filesOf: () => null,
}));
vi.mock('../../node/hosting/place-choice.ts', () => ({ ownersReserve: () => 0 }));

const dayMs = 86_400_000;
const { signal } = new AbortController();
beforeAll(() => install({ restic: 'restic' }), 300_000);

let folder = '';
let ledger: Ledger;
let mayVote = true;
let kept: KeptVault;
let clock: { boot: number; wall: number };
let way: Way;
const before = { ...keeperTimings };

/** What lies between the two. */
class Way {
  readonly #server: Server;
  readonly #ends = new Set<Socket>();
  #to = 0;
  /** Bytes that pass before it is cut, once. */
  cutAfter = Number.POSITIVE_INFINITY;
  cuts = 0;
  onCut: () => void = () => {};

  constructor() {
    this.#server = createServer((from) => {
      const to = tcp(this.#to, '127.0.0.1');
      for (const end of [from, to]) this.#ends.add(end.on('error', () => {}));
      from.on('close', () => to.destroy());
      to.on('close', () => from.destroy());
      from.on('data', (piece) => {
        this.cutAfter -= piece.length;
        if (this.cutAfter < 0) {
          this.cutAfter = Number.POSITIVE_INFINITY;
          this.cuts += 1;
          this.onCut();
          this.cut();
        }
      });
      from.pipe(to).pipe(from);
    }).listen(0, '127.0.0.1');
  }

  port(to: number): number {
    this.#to = to;
    return (this.#server.address() as AddressInfo).port;
  }

  cut(): void {
    for (const end of this.#ends) end.destroy();
    this.#ends.clear();
  }

  close(): void {
    this.cut();
    this.#server.close();
  }
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'autogit-kept-'));
  mkdirSync(join(folder, 'data'));
  clock = { boot: 0, wall: Date.now() };
  const founded = foundedMesh({ store: 's' });
  const { K } = founded.nodes;
  const can = [...abilities];
  ledger = {
    ...founded,
    nodes: { K: { ...K!, can }, D: { ...K!, name: 'desktop-1', can } },
    gitlab: { ...founded.gitlab, mode: 'hosted', host: 'K', epoch: 3, hosted: hostedGitlab({}) },
  };
  kept = keeping(true);
  way = new Way();
});
afterAll(async () => {
  Object.assign(keeperTimings, before);
  await kept.stop();
  way.close();
  rmSync(folder, { recursive: true });
});

const keeping = (isAllowed: boolean): KeptVault =>
  new KeptVault({
    ...{ self: 'D', home: join(folder, 'D'), ledger: () => ledger, isAllowed },
    clock: { bootMs: () => clock.boot, wallMs: () => clock.wall },
    log: { info: () => undefined, warn: () => undefined },
    open: (vault, at) => openWithKey(at, vault, { ...keys, canOpen: () => mayVote }),
  });

let isThere = true;
const keepers = new VaultKeepers({
  ...{ self: 'K', ledger: () => ledger, turns: new Turns(), limit: new RateLimit(null) },
  local: () => Promise.reject(new Error('it keeps none itself')),
  network: {
    async ask(_node, ask) {
      if (!isThere) throw new Error('it is not connected');
      const answer = await kept.answer('K', ask as never);
      return answer.kind === 'vault-door' ? { ...answer, port: way.port(answer.port) } : answer;
    },
    addressOf: () => '127.0.0.1:1',
  },
});
const keys: VaultKeys = {
  get home() {
    return join(folder, 'K');
  },
  ledger: () => ledger,
  change: async (change) => {
    const after = applyChange(ledger, change, clock.wall);
    if (isRefusal(after)) return { state: 'refused', because: after.refused };
    ledger = after;
    return { state: 'done', because: '' };
  },
  canOpen: () => true,
  unseal: (text) => text,
  sealForVoters: (text) => text,
  keepers,
};
const keep = { daily: 1, weekly: 0, monthly: 0 };
const use = { kind: 'open-vault-door', purpose: 'use' } as const;
/** What was closed here is seen there. */
const quiet = (): Promise<unknown> => sleep(150);
const begin = (more: object = {}): Promise<string> =>
  beginVault(
    {
      ...{ kind: 'begin-vault', target: 'node:desktop-1', password: 'a-key-of-the-mesh', isNew: true },
      ...{ credentials: {}, everyMs: dayMs, keep, ...more },
    },
    keys,
    { data: join(folder, 'data'), signal },
  );
const opened = (): Restic => openVault(ledger.gitlab.vault!, keys);
const backup = (restic = opened()): Promise<string> =>
  restic.backup(join(folder, 'data'), { tags: ['data=k3v9q2m4'], parent: null, onPercent: () => undefined, signal });
const write = (name: string, bytes: number): Buffer => {
  const text = randomBytes(bytes);
  writeFileSync(join(folder, 'data', name), text);
  return text;
};
const home = () => join(folder, 'D/gitlab-vault/m');
const files = (under = 'repository'): string[] =>
  (readdirSync(join(home(), under), { recursive: true, withFileTypes: true }) as { isFile(): boolean; name: string }[])
    .filter((one) => one.isFile())
    .map(({ name }) => name)
    .sort();

/** Each call of restic's takes half a second for its key: so all of this is one repository's life. */
it('backed up to another machine, cut in the midst, checked, restored; what the host deletes stays, and nobody else of the host comes in', async () => {
  const first = write('a', 2_000_000);
  expect(await begin()).toMatch(/^backups of GitLab go to node:desktop-1: .* left for them$/);
  expect(ledger.gitlab.vault).toMatchObject({ target: 'node:desktop-1', keeper: 'D', keep });
  const id = await backup();
  write('b', 16_000_000);
  way.cutAfter = 5_000_000;
  await backup();
  expect(way.cuts).toBe(1);
  expect(keepers.saidBy('D')).toMatch(/^it thins them itself \(1,0,0\); \d/);
  const restic = opened();
  await restic.check(1, 1, signal);
  await restic.restore(id, join(folder, 'out'), signal);
  expect(readFileSync(join(folder, 'out/a'))).toEqual(first);

  // A host that somebody took over: restic's own forget, and by hand.
  clock.boot += 600_000;
  const had = files('repository');
  let said = '';
  await keepers.reach(
    'D',
    'use',
  )(async ({ target }) => {
    const env = { ...process.env, RESTIC_REPOSITORY: target, RESTIC_PASSWORD: 'a-key-of-the-mesh' };
    // It would try for a quarter of an hour.
    const forget = spawn('restic', ['forget', id, '--prune'], { env, stdio: ['ignore', 'ignore', 'pipe'] });
    forget.stderr.on('data', (text) => {
      said += text;
      if (said.includes('403')) forget.kill('SIGKILL');
    });
    await once(forget, 'close');
    const [, word, at] = /^rest:http:\/\/(.*)@(127.0.0.1:\d+)\/$/.exec(target)!;
    const by = (method: string, path: string, who = word!): Promise<number> =>
      fetch(`http://${at}${path}`, { method, headers: { authorization: `Basic ${btoa(who)}` } }).then((r) => r.status);
    for (const name of had.filter((one) => /^[0-9a-f]{64}$/.test(one)))
      for (const type of ['data', 'index', 'snapshots', 'keys'])
        expect(await by('DELETE', `/${type}/${name}`)).toBe(403);
    expect(await by('DELETE', '/config')).toBe(403);
    // Another user of the host has no password.
    expect([await by('GET', '/config', 'autogit:guess'), await by('GET', '/config')]).toEqual([401, 200]);
    expect((await fetch(`http://${at}/config`)).status).toBe(401);
  });
  expect(said).toMatch(/403/);
  rmSync(join(home(), 'repository/locks'), { recursive: true });
  mkdirSync(join(home(), 'repository/locks'));
  expect(files().filter((name) => had.includes(name))).toEqual(had);
  await expect(begin()).rejects.toThrow('backups of GitLab go to node:desktop-1 already');
}, 90_000);

it('without room there, or when that machine falls away, it says so, and goes on later', async () => {
  write('c', 16_000_000);
  disk.freeBytes = 8_000_000;
  await expect(backup()).rejects.toThrow(
    /^desktop-1, which keeps the backups, does not take this one: it has .* left for backups/,
  );
  // What is there is read all the same, which takes a lock.
  disk.freeBytes = -1;
  expect(await opened().snapshots(signal)).toHaveLength(2);
  disk.freeBytes = 1e12;
  keeperTimings.awayMs = 500;
  way.cutAfter = 3_000_000;
  way.onCut = () => {
    isThere = false;
  };
  const gone = /^desktop-1, which keeps the backups, does not take them: it is not connected/;
  await expect(backup()).rejects.toThrow(gone);
  // And before it begins.
  isThere = true;
  // restic may have read enough of a file before it ends: that machine is no less there.
  await keepers.reach(
    'D',
    'use',
  )(async ({ target, trouble }) => {
    const [, word, at] = /^rest:http:\/\/(.*)@(127.0.0.1:\d+)\/$/.exec(target)!;
    const headers = { authorization: `Basic ${btoa(word!)}` };
    const rows = (await (await fetch(`http://${at}/data/`, { headers })).json()) as { name: string; size: number }[];
    const large = rows.sort((a, b) => b.size - a.size)[0]!;
    const stop = new AbortController();
    const answer = await fetch(`http://${at}/data/${large.name}`, { headers, signal: stop.signal });
    expect([answer.status, large.size > 10_000_000]).toEqual([200, true]);
    stop.abort();
    await sleep(800);
    expect(trouble?.aborted).toBe(false);
  });
  isThere = false;
  await expect(backup()).rejects.toThrow(gone);
  isThere = true;
  await backup();
}, 90_000);

it('is thinned by the machine that keeps them, by when they came; what is let go can be put back for a fortnight', async () => {
  // As they came, and as the host says: the same moment.
  const all = (await opened().snapshots(signal)).map(({ id }) => id);
  expect(all).toHaveLength(3);
  const today = Math.floor(clock.wall / dayMs) * dayMs;
  for (const [at, ms] of [today - dayMs, today + 1000, today + 2000].entries())
    utimesSync(join(home(), 'repository/snapshots', all[at]!), ms / 1000, ms / 1000);
  await quiet();
  kept.look();
  // Not before a day is over, nor while somebody was there a moment ago.
  expect(await kept.answer('K', use)).toMatchObject({ kind: 'vault-door' });
  clock.wall += dayMs;
  await keepers.reach('D', 'use')(async () => undefined);
  await quiet();
  kept.look();
  expect(await kept.answer('K', use)).toMatchObject({ kind: 'vault-door' });
  clock.boot += 61_000;
  kept.look();
  await expect(backup()).rejects.toThrow('it thins them now');
  await expect
    .poll(() => files('repository/snapshots'), { timeout: 20_000, interval: 100 })
    .toEqual(
      // Of the day the first, and the newest of all.
      [all[1], all[2]].sort(),
    );
  await kept.stop();
  kept = keeping(true);
  await opened().check(1, 1, signal);
  // As it was, by hand.
  const [of] = readdirSync(join(home(), 'thinned'));
  execFileSync('cp', ['-a', '--no-clobber', `${home()}/thinned/${of}/.`, `${home()}/repository/`]);
  await opened().check(1, 1, signal);
  expect(files('repository/snapshots')).toEqual([...all].sort());
}, 90_000);

it('not by a machine that may not open them, nor against its owner’s word, nor for anybody but the one that makes them', async () => {
  mayVote = false;
  keptTimings.ledgerMs = 300;
  await keepers.reach('D', 'use')(async () => undefined);
  expect(keepers.saidBy('D')).toMatch(/^all of them stay there, as it does not vote/);
  expect(await kept.answer('other', use)).toMatchObject({ kind: 'refused' });
  await kept.stop();
  kept = keeping(false);
  await expect(backup()).rejects.toThrow('its owner wants nothing of GitLab on it');
  expect(kept.attention()[0]?.sentence).toContain('copies: never');
  await kept.stop();
  kept = keeping(true);
  const { vault: named, ...gitlab } = ledger.gitlab;
  ledger = { ...ledger, gitlab };
  expect(await kept.answer('K', use)).toMatchObject({ kind: 'refused' });
  expect(kept.attention()[0]).toMatchObject({ code: 'gitlab-vault-left', sentence: expect.stringContaining(home()) });
  // Where its ledger is a moment behind it waits for it.
  setTimeout(() => {
    ledger = { ...ledger, gitlab: { ...gitlab, vault: named! } };
  }, 100);
  expect(await kept.answer('K', use)).toMatchObject({ kind: 'vault-door' });
  // An agent of before would take it for a folder.
  ledger.nodes.D = { ...ledger.nodes.D!, can: [] };
  await expect(begin()).rejects.toThrow('desktop-1 runs an earlier version');
  await expect(begin({ target: 'node:kang' })).rejects.toThrow('makes the backups itself');
  await expect(begin({ target: 'node:nobody' })).rejects.toThrow('no machine of the mesh is called nobody');
  await expect(begin({ target: 'desktop-1' })).rejects.toThrow('node:NAME');
});
