import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../node/clock.ts';
import type { GitlabClones } from '../../node/hosting/clone/gitlab-clones.ts';
import type { DataPlace } from '../../node/hosting/data-place.ts';
import type { KeptGitlab } from '../../node/hosting/kept-gitlab.ts';
import type { ServiceHost } from '../../node/hosting/service-host.ts';
import { GitlabUpgrade } from '../../node/hosting/upgrade/upgrade-host.ts';
import type { DataReplacing } from '../../node/hosting/vault/data-replacing.ts';
import type { Change } from '../../protocol/changes.ts';
import { AutogitError } from '../../protocol/errors.ts';
import { abilities, type Ledger } from '../../protocol/ledger.ts';
import type { HostedGitlab } from '../../protocol/ledger-gitlab.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';
import { playedCurl } from './played-curl.ts';

/** What a host does of an upgrade while GitLab serves: engine, clones and keeper are the test's. */
const system = systemClock();
const [was, stop, wanted] = ['17.4.1', '17.5.5', '17.6.0'].map((one) => `gitlab/gitlab-ce:${one}-ce.0`) as [
  string,
  string,
  string,
];
let folder: string;
let upgrade: GitlabUpgrade;
let skewMs = 0;
let hosted: HostedGitlab;
let version = '17.4.1';
let migrations = '0 0';
let pullFails: Error | null = null;
let onClone: { version?: string; fails?: string; hangs?: true; then?: () => void } | null = {};
let vaultBusy: string | null = null;
let isRestored = false;
const about = {
  ...{ form: 1 as const, mesh: 'mesh', meshName: 'home', data: 'data-1', epoch: 4 },
  ...{ version: '17.4.1', image: 'gitlab/gitlab-ce:17.4.1-ce.0', at: 0 },
};
const restored = { backup: 'latest', source: '', about, because: 'a person asked' };
let asked: Parameters<DataReplacing['ask']>[0][] = [];
let changes: Change[] = [];
let order: string[] = [];

const exec =
  (says: () => string) =>
  async (_id: string, argv: readonly string[], { input = '' }: { input?: string } = {}) =>
    argv[0] === 'gitlab-psql'
      ? { code: 0, out: `${migrations}\n` }
      : playedCurl(input, () => ({ status: 200, body: JSON.stringify({ version: says() }) }));

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'autogit-upgrade-'));
  for (const one of ['live/data/postgresql', 'live/config', 'bulk']) mkdirSync(join(folder, one), { recursive: true });
  writeFileSync(join(folder, 'live/data/postgresql/PG_VERSION'), '16');
  [version, migrations, pullFails, onClone, vaultBusy, skewMs] = ['17.4.1', '0 0', null, {}, null, 0];
  [asked, changes, order, isRestored] = [[], [], [], false];
  hosted = hostedGitlab({
    image: was,
    place: { kind: 'subvolume', path: folder },
    upgrade: { image: wanted, from: '17.4.1', rehearse: true, since: 0, because: 'asked' },
  });
  const founded = foundedMesh({ store: 's' });
  const [self = ''] = Object.keys(founded.nodes);
  const nodes = { [self]: { ...founded.nodes[self]!, can: [...abilities] } };
  const ledger = (): Ledger => ({
    ...founded,
    nodes,
    gitlab: { ...founded.gitlab, mode: 'hosted', host: self, epoch: 4, hosted },
  });
  const place: DataPlace = {
    ...{ kind: 'subvolume', path: folder, notices: [], freeBytes: () => 2 ** 40, check: async () => undefined },
    folders: {
      config: join(folder, 'live/config'),
      data: join(folder, 'live/data'),
      bulk: join(folder, 'bulk'),
      logs: '',
    },
    ...{
      checkInside: () => undefined,
      tend: async () => [],
      letGo: async () => undefined,
      close: async () => undefined,
    },
    withPrograms: (act) => act(),
    makeRoom: async (bytes) => void order.push(bytes > 2 ** 30 ? 'room' : 'no room'),
  };
  const kept = {
    get hosting() {
      return { ...hosted, host: self, epoch: 4 };
    },
    mesh: 'mesh',
    mayRun: true,
    life: { hasWorked: true },
    get version() {
      return version;
    },
    place: async () => place,
  };
  const host = {
    check: async () => ({ arch: 'amd64' }),
    find: async () => [{ id: 'c1', data: hosted.data, epoch: 4 }],
    exec: exec(() => version),
    image: async (name: string) => {
      if (pullFails !== null) throw pullFails;
      order.push(`pulled ${name}`);
      return { id: name, arch: 'amd64' };
    },
  } as unknown as ServiceHost;
  const clones = {
    purpose: null,
    start: async ({ image }: { image: string }) => {
      order.push(`clone of ${image}`);
      if (onClone?.fails) throw new AutogitError('clone', onClone.fails);
      return {
        folders: { data: join(folder, 'live/data') },
        untilItWorks: async () => 70_000,
        exec: async (argv: readonly string[], how: { input?: string }) => {
          onClone?.then?.();
          if (onClone?.hangs) throw new AutogitError('timed-out', 'gitlab-psql: no end within 60 s');
          return exec(() => onClone?.version ?? (/:([\d.]+)-/.exec(image)?.[1] as string))('', argv, how);
        },
        end: async () => void order.push('clone ended'),
      };
    },
  } as unknown as GitlabClones;
  const replacing = {
    ask: (wish: (typeof asked)[0]) => void asked.push(wish),
    current: () => asked[0] ?? (isRestored ? restored : null),
  };
  upgrade = new GitlabUpgrade({
    ...{ host, clones, ledger, meshToken: () => 'token', log: { info: () => undefined, warn: () => undefined } },
    clock: { bootMs: () => system.bootMs() + skewMs, wallMs: () => system.wallMs() },
    keeper: { kept: kept as unknown as KeptGitlab, replacing },
    vault: {
      get busy() {
        return vaultBusy;
      },
    },
    change: async (change) => {
      changes.push(change);
      if (change.kind === 'gitlab-upgrade-ended') delete hosted.upgrade;
      return { state: 'done', because: '' };
    },
    tools: {
      run: async (file) => (file === 'du' ? `${3 * 2 ** 20}\t${folder}\n` : ''),
      write: async () => undefined,
      rename: async () => undefined,
      syncFolder: async () => undefined,
    },
  });
});
afterEach(async () => {
  await upgrade.stop();
  rmSync(folder, { recursive: true, force: true });
});

const until = (what: () => unknown) => expect.poll(what, { timeout: 8_000, interval: 30 });
const phase = () => upgrade.seen().upgrade?.doing?.phase ?? '';
const ended = () =>
  changes.map((change) => (change.kind === 'gitlab-upgrade-ended' ? [change.isDone, change.because] : change));

describe('an upgrade on its host, while GitLab serves', () => {
  it('takes the next image of the way: room, pull, clone, and then the container may change', async () => {
    upgrade.start();
    await until(() => asked.length).toBe(1);
    expect(order).toEqual(['room', `pulled ${stop}`, `clone of ${stop}`, 'clone ended']);
    expect(asked[0]).toMatchObject({
      ...{ image: stop, imageBefore: was, backup: stop },
      about: { epoch: 4, version: '17.4.1', image: was, isPinned: true },
      // Four times as long as on the clone, and never less than any boot may take.
      upgrade: { bootLimitMs: 1_200_000, isLast: false },
    });
    expect(changes).toEqual([]);
  });

  it('without a rehearsal it makes no clone, and the boot may take an hour', async () => {
    version = '17.5.5';
    Object.assign(hosted.upgrade as object, { rehearse: false });
    upgrade.start();
    await until(() => asked.length).toBe(1);
    expect([order, asked[0]?.upgrade]).toEqual([
      ['room', `pulled ${wanted}`],
      { bootLimitMs: 3_600_000, isLast: true },
    ]);
  });

  it('waits for background migrations and for a backup, and says so', async () => {
    migrations = '3 0';
    upgrade.start();
    await until(phase).toBe('waits for 3 background migrations of GitLab 17.4.1 to end');
    [migrations, vaultBusy] = ['0 0', 'backup'];
    skewMs += 20_000;
    await until(phase).toBe('waits until the backup is over');
    expect(asked).toEqual([]);
    vaultBusy = null;
    skewMs += 20_000;
    await until(() => asked.length).toBe(1);
  });

  it('waits where a restore has become ready meanwhile, which would be lost', async () => {
    onClone = {
      then: () => {
        isRestored = true;
      },
    };
    upgrade.start();
    await until(() => order.includes('clone ended')).toBe(true);
    await until(phase).toBe('waits until its data are replaced');
    expect([asked, changes]).toEqual([[], []]);
  });

  it('goes on where the engine was away, and begins nothing meanwhile', async () => {
    pullFails = new AutogitError('no-docker', 'no Docker Engine answers');
    upgrade.start();
    await until(() => order.includes('room')).toBe(true);
    await until(phase).toBe('');
    expect([changes, asked]).toEqual([[], []]);
    pullFails = null;
    skewMs += 20_000;
    await until(() => asked.length).toBe(1);
  });

  it.each<[string, () => void, RegExp]>([
    ['migrations failed', () => (migrations = '0 2'), /2 background migrations of GitLab failed/],
    [
      'the image cannot be pulled',
      () => (pullFails = new AutogitError('image-missing', 'no such tag')),
      /GitLab stays as it is: no such tag/,
    ],
    [
      'it does not come up on the clone',
      () => (onClone = { fails: 'its container has ended' }),
      /its container has ended/,
    ],
    ['nothing on the clone comes to an end', () => (onClone = { hangs: true }), /no end within 60 s/],
    ['it is another version on the clone', () => (onClone = { version: '17.5.4' }), /says that it is GitLab 17.5.4/],
    ['there is no way', () => (version = '17.7.0'), /17.6.0 is older than 17.7.0/],
  ])('where %s it ends, in words, and GitLab was not touched', async (_what, spoil, because) => {
    spoil();
    upgrade.start();
    await until(ended).toEqual([[false, expect.stringMatching(because)]]);
    expect(asked).toEqual([]);
  });

  it('an agent that comes next finds it done, and says so', async () => {
    version = '17.6.0';
    Object.assign(hosted, { image: wanted });
    upgrade.start();
    await until(ended).toEqual([[true, `GitLab is ${wanted}`]]);
    expect(asked).toEqual([]);
  });

  it('a rehearsal that a person asks for changes nothing, and says how long it took', async () => {
    delete hosted.upgrade;
    migrations = '2 0';
    expect(upgrade.rehearse(wanted)).toContain('beside what serves');
    expect(() => upgrade.rehearse(wanted)).toThrow('already');
    await until(() => upgrade.seen().upgrade?.rehearsed).toMatchObject({
      ...{ isDone: true, tookMs: 70_000 },
      because:
        'GitLab 17.5.5 came up on a clone after 70 s, and works; 2 background migrations go on after it; of 2 versions on the way this was the first',
    });
    expect([asked, changes]).toEqual([[], []]);
    expect(() => upgrade.rehearse('gitlab/gitlab-ce:latest')).toThrow('does not say which version');
  });
});
