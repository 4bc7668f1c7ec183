import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { build } from 'esbuild';
import { beforeAll, describe, expect, it } from 'vitest';
import { againstGate } from '../../node/hosting/gitlab-rb.ts';
import type { KeptGitlab } from '../../node/hosting/kept-gitlab.ts';
import { removePlace } from '../../node/hosting/place-making.ts';
import { markedEpoch } from '../../node/hosting/place-records.ts';
import { BtrfsReplica } from '../../node/hosting/replica/btrfs-replica.ts';
import { replicaTools } from '../../node/hosting/replica/replica-tools.ts';
import { RoundDisk } from '../../node/hosting/replica/round-disk.ts';
import { systemTools } from '../../node/hosting/system-tools.ts';
import type { RoundHolder } from '../../node/hosting/vault/backup-rows.ts';
import { swapData } from '../../node/hosting/vault/data-swap.ts';
import { GitlabVault } from '../../node/hosting/vault/gitlab-vault.ts';
import { Restic } from '../../node/hosting/vault/restic.ts';
import type { RoundKeeper } from '../../node/hosting/vault/round-bringing.ts';
import { aboutFile, takeSnapshot } from '../../node/hosting/vault/vault-tree.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { install } from '../bench/debian.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';
import { noKeepers } from '../fixtures/no-keepers.ts';
import { PlaceRig, sh } from './data-place-rig.ts';
import { about, backedUp, backup, owner, written } from './vault-rig.ts';

/** Backups by the real restic, of a real btrfs; what GitLab would have written is written by the test. */
const rig = new PlaceRig();
const { signal } = new AbortController();
let holders: RoundHolder[] = [];
let keepers: RoundKeeper[] = [];
beforeAll(() => install({ restic: 'restic' }), 300_000);

const repository = (name = 'repository', password = 'a-password-of-the-test'): Restic =>
  new Restic({ target: join(rig.folder, name), password, credentials: {} }, join(rig.folder, 'cache'));
describe('a backup of GitLab', () => {
  it('has no hole: a subvolume below the data is named, and nothing is backed up', async () => {
    const { tree } = await written(rig);
    sh(`btrfs subvolume create ${join(tree, 'live/data/nested')}`);
    await expect(takeSnapshot(tree, about, systemTools)).rejects.toThrow(
      /live\/data\/nested is a subvolume of its own within/,
    );
    sh(`btrfs subvolume delete ${join(tree, 'live/data/nested')}`);
  });

  it('killed at any point leaves nothing in the way: the next one is whole, old ones go, and all reads back', async () => {
    const { place, tree } = await written(rig);
    const restic = repository();
    await restic.init(signal);
    const first = await backedUp(restic, tree);
    sh(`head -c 60000000 /dev/urandom > ${join(place.folders.bulk, 'large')}`);
    for (const ms of [300, 900]) {
      const cut = AbortSignal.timeout(ms);
      const folder = await takeSnapshot(tree, about, systemTools);
      const how = { tags: ['data=data-1'], parent: first, onPercent: () => undefined, signal: cut };
      await restic.backup(folder, how).catch(() => undefined);
    }
    // A lock that a killed one left, as restic writes it.
    const folder = await takeSnapshot(tree, about, systemTools);
    const env = {
      ...process.env,
      RESTIC_REPOSITORY: join(rig.folder, 'repository'),
      RESTIC_PASSWORD: 'a-password-of-the-test',
    };
    // As soon as it has its lock: a machine that is quick would else be done by then.
    const locked = 'until [ -n "$(ls "$RESTIC_REPOSITORY/locks")" ]; do sleep 0.01; done';
    execFileSync('sh', ['-c', `restic backup . & pid=$!; ${locked}; kill -9 $pid; wait $pid; true`], {
      cwd: folder,
      env,
      stdio: 'ignore',
    });
    await backedUp(restic, tree, ['data=data-1'], first);
    await restic.forget('data=data-1', { daily: 1, weekly: 0, monthly: 0 }, signal, 'none');
    await restic.check(1, 1, signal);
    const left = await restic.snapshots(signal);
    expect(left).toHaveLength(1);
    const out = join(rig.folder, 'out');
    await restic.restore(left[0]!.id, out, signal);
    sh(`diff -r ${join(tree, 'live')} ${out}/live && cmp ${place.folders.bulk}/large ${out}/bulk/large`);
    // One path of it alone.
    const part = join(rig.folder, 'part');
    await restic.restore(left[0]!.id, part, signal, '/live/data/git-data/repositories/a.git');
    expect(sh(`cd ${part} && find . -type f | sort`)).toBe(
      ['config.lock', 'HEAD']
        .map((file) => `./live/data/git-data/repositories/a.git/${file}\n`)
        .sort()
        .join(''),
    );
    // A byte of it turned is found.
    const pack = sh(`find ${join(rig.folder, 'repository/data')} -type f -size +1M | head -1`).trim();
    chmodSync(pack, 0o600);
    const bytes = readFileSync(pack);
    bytes[5000]! ^= 1;
    writeFileSync(pack, bytes);
    await expect(restic.check(1, 1, signal)).rejects.toThrow(/restic check failed/);
  });
});

it('restic ends with the agent that began it, whatever that was killed by', async () => {
  // A target that takes the question and never answers.
  const silent = createServer().listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const target = `rest:http://127.0.0.1:${(silent.address() as AddressInfo).port}/`;
  const parts = { target, password: 'a-password-of-the-test', credentials: {} };
  const outfile = join(rig.folder, 'agent.mjs');
  await build({
    stdin: {
      contents: `import { Restic } from './node/hosting/vault/restic.ts';
        const restic = new Restic(${JSON.stringify(parts)}, '${rig.folder}/cache');
        await restic.restore('${rig.folder}', '/nowhere', new AbortController().signal);`,
      resolveDir: process.cwd(),
      loader: 'ts',
    },
    ...{ bundle: true, platform: 'node', format: 'esm', outfile },
  });
  const child = spawn(process.execPath, [outfile], { stdio: 'ignore' });
  const pids = (): number[] =>
    sh(`pgrep -fx -- "restic restore ${rig.folder} .*" || true`).split('\n').filter(Boolean).map(Number);
  const running = (): boolean => pids().length > 0;
  try {
    await expect.poll(running, { timeout: 10_000, interval: 20 }).toBe(true);
    child.kill('SIGKILL');
    await expect.poll(running, { timeout: 2_000, interval: 20 }).toBe(false);
  } finally {
    child.kill('SIGKILL');
    for (const pid of pids()) process.kill(pid, 'SIGKILL');
    silent.close();
  }
});

describe('the vault of a host', () => {
  /** What of a keeper and a mesh it needs; the ledger takes what it asks for. */
  async function host(data = 'data-1', image = rig.image()) {
    const { place, tree } = await written(rig, data, image);
    const hosting = { ...hostedGitlab({ data, place: image }), host: 'kang', epoch: 3 };
    const kept = {
      ...{ hosting, version: '19.4.1', mayRun: true, life: { hasWorked: true } },
      place: async () => place,
      placeAsItIs: async () => place,
    };
    const asked: { source: string; because: string }[] = [];
    const replacing = {
      outcome: null,
      isUnderWay: () => false,
      current: () => null,
      ask: (wish: { source: string; because: string }) => void asked.push(wish),
    };
    const gitlab: { vault?: Ledger['gitlab']['vault']; hosted: object } = { hosted: hosting };
    const founded = foundedMesh({ store: 's' });
    const ledger = { ...founded, mesh: { id: 'mesh-1', name: 'home' }, gitlab } as unknown as Ledger;
    const clock = { wallMs: Date.now(), boot: 0 };
    const vault = new GitlabVault({
      home: rig.folder,
      clock: { bootMs: () => clock.boot, wallMs: () => clock.wallMs },
      log: { info: () => undefined, warn: () => undefined },
      ledger: () => ledger,
      change: async (change) => {
        if (change.kind === 'set-vault') gitlab.vault = { ...change.vault!, since: 0, because: '' };
        return { state: 'done', because: '' };
      },
      canOpen: () => true,
      unseal: (text) => text,
      sealForVoters: (text) => text,
      keepers: noKeepers,
      keeper: { kept: kept as unknown as KeptGitlab, replacing },
      holders: () => holders,
      roundKeepers: () => keepers,
      api: () => null,
    });
    return { vault, tree, place, asked, clock, kept, hosting, seen: () => vault.seen().vault };
  }
  const target = () => join(rig.folder, 'disk', 'backups');
  const begin = (more: object = {}) => ({
    ...{ kind: 'begin-vault' as const, target: target(), password: 'a-key-of-the-mesh', isNew: true },
    ...{ credentials: {}, everyMs: 86_400_000, keep: { daily: 7, weekly: 4, monthly: 6 }, ...more },
  });

  it('makes one by itself when it is due, says when its disk is away and makes nothing there, restores beside what serves', {
    timeout: 90_000,
  }, async () => {
    const { vault, tree, place, kept, asked, clock, seen } = await host();
    const poll = (what: () => unknown) => expect.poll(what, { timeout: 30_000, interval: 100 });
    vault.start();
    try {
      expect(vault.seen()).toEqual({});
      expect(() => vault.backupNow()).toThrow('no place for backups is named');
      await expect(vault.begin(begin({ target: join(rig.folder, 'gitlab/x') }))).rejects.toThrow(
        /lies in GitLab's own data/,
      );
      await expect(vault.begin(begin({ isNew: false }))).rejects.toThrow(/there is no repository/);
      await expect(vault.begin(begin({ target: 'rest:http://127.0.0.1:1/' }))).rejects.toThrow(/connection refused/);
      expect(await vault.begin(begin())).toContain("the same disk as GitLab's data");
      await expect(vault.begin(begin())).rejects.toMatchObject({ hint: 'make one now: autogit-node gitlab backup' });
      await expect(vault.begin(begin({ password: 'another-key-of-16', isNew: false }))).rejects.toThrow(
        /that key does not open the repository/,
      );
      await poll(() => [seen()?.doing, seen()?.last !== null, seen()?.checkedAt]).toEqual([null, true, clock.wallMs]);
      const first = seen()?.last?.id;

      // A day later, and the disk is not there.
      sh(`mv ${join(rig.folder, 'disk')} ${join(rig.folder, 'away')}; mkdir ${join(rig.folder, 'disk')}`);
      clock.wallMs += 86_400_000;
      await poll(() => seen()?.problem).toMatch(
        /the repository is not at .* any more -> see whether its disk is mounted/,
      );
      expect([readdirSync(join(rig.folder, 'disk')), existsSync(join(tree, 'vault'))]).toEqual([[], false]);
      expect(await vault.rows()).toEqual({ rows: [], problem: expect.stringContaining('cannot be asked') });
      sh(`rmdir ${join(rig.folder, 'disk')}; mv ${join(rig.folder, 'away')} ${join(rig.folder, 'disk')}`);
      // It is tried again after a while, not at once.
      clock.boot += 70_000;
      await poll(() => [seen()?.problem, seen()?.doing, seen()?.last?.id !== first]).toEqual([null, null, true]);

      const { rows } = await vault.rows();
      expect(rows).toMatchObject([{ epoch: 3, version: '19.4.1', isOwn: true }]);
      expect(() => vault.restore('abcdef01') && vault.restore('abcdef01')).toThrow('this machine is at a restore');
      await poll(() => seen()?.restored).toMatchObject({ backup: 'abcdef01', isDone: false });
      expect(seen()?.restored?.because).toContain('nothing was changed');
      expect([seen()?.problem, asked]).toEqual([null, []]);
      await poll(() => seen()?.doing).toBeNull();
      writeFileSync(join(tree, 'live/data/git-data/repositories/a.git/HEAD'), 'ref: refs/heads/now');
      mkdirSync(join(place.folders.bulk, 'artifacts'));
      writeFileSync(join(place.folders.bulk, 'artifacts/new'), '');
      sh(`mv ${tree}/live/data/git-data/repositories/a.git ${tree}/live/data/git-data/repositories/b.git`);
      const compared = await vault.compare(rows[0]!.id, 0);
      expect(compared.rows.map(({ repository, what }) => [repository, what])).toEqual([
        ['a.git', 'gone'],
        ['b.git', 'new'],
      ]);
      expect(compared.files).toEqual([{ kind: 'artifacts', then: 0, now: 1 }]);
      sh(`mv ${tree}/live/data/git-data/repositories/b.git ${tree}/live/data/git-data/repositories/a.git`);
      kept.version = '19.4.2';
      vault.restore(rows[0]!.id);
      await poll(() => seen()?.restored?.because).toMatch(/is of GitLab 19.4.1, and 19.4.2 runs here.* --data DIR$/);
      await poll(() => seen()?.doing).toBeNull();
      kept.version = '19.4.1';
      vault.restore(rows[0]!.id);
      await poll(() => asked.length).toBe(1);
      expect(asked[0]?.because).toMatch(/restored as of .* kept as replaced-3/);
      // As after a power cut, and what serves was not touched.
      const data = join(tree, 'restoring/live/data');
      expect(existsSync(join(data, 'postgresql/data/postmaster.pid'))).toBe(false);
      expect(readdirSync(join(data, 'git-data/repositories/a.git'))).toEqual(['HEAD']);
      expect(readFileSync(join(data, 'git-data/repositories/a.git/HEAD'), 'utf8')).toContain('then');
      expect(readFileSync(join(tree, 'restoring/bulk/artifact'), 'utf8')).toBe('artifact of then');
      expect(readFileSync(join(tree, 'live/data/git-data/repositories/a.git/HEAD'), 'utf8')).toContain('now');
      // Deleted with its data, all that was made beside them goes too.
      await place.close();
      rig.open = [];
      await removePlace(rig.image(), owner, { deleteData: true });
      expect(existsSync(rig.image().path)).toBe(false);
    } finally {
      await vault.stop();
    }
  });

  it('of a machine that is lost, another deployment takes its backups by their key, as its own data', async () => {
    const poll = (what: () => unknown) => expect.poll(what, { timeout: 20_000, interval: 50 });
    const lost = repository('disk/backups', 'a-key-of-the-mesh');
    mkdirSync(join(rig.folder, 'disk'));
    await lost.init(signal);
    const { tree: old, place: gone } = await written(rig);
    // As a person ran it, who had https by GitLab itself; it wins over all that the mesh says.
    const ownRb = "external_url 'https://git.example.org'\nnginx['listen_port'] = 8443\nnginx['listen_https'] = true\n";
    writeFileSync(join(gone.folders.config, 'gitlab.rb'), ownRb, { mode: 0o600 });
    const tags = ['data=data-1', 'version=19.4.1', 'epoch=3'];
    const id = await backedUp(lost, old, tags);
    // Of somebody's photos; of what says of itself what it is not; of a GitLab whose secrets file was gone.
    const photos = join(rig.folder, 'photos');
    mkdirSync(photos);
    writeFileSync(join(photos, 'holiday.jpg'), 'a photo');
    const foreign = await backup(lost, photos, tags);
    writeFileSync(join(photos, aboutFile), '{"form":1,"version":"../../etc","epoch":-1}');
    const hostile = await backup(lost, photos, tags);
    sh(`rm ${old}/live/config/gitlab-secrets.json`);
    const half = await backedUp(lost, old, tags);
    await gone.close();
    rig.open = [];
    const { vault, tree, place, asked, seen } = await host('data-2', {
      kind: 'image',
      path: join(rig.folder, 'other'),
    });
    vault.start();
    try {
      writeFileSync(join(place.folders.bulk, 'artifact'), 'artifact of the new one');
      await vault.begin(begin({ isNew: false }));
      await poll(() => [seen()?.doing ?? null, seen()?.last !== null]).toEqual([null, true]);
      const { rows } = await vault.rows(true);
      expect(rows.map((one) => one.isOwn)).toEqual([true, false, false, false, false]);
      expect(rows.at(-1)?.id).toBe(id);
      for (const [bad, why] of [
        [foreign, /is no backup of a GitLab that a mesh runs/],
        [hostile, /is no backup of a GitLab that a mesh runs/],
        [half, /is half of a GitLab: live\/config\/gitlab-secrets.json is not in it/],
      ] as const) {
        vault.restore(bad);
        await poll(() => seen()?.restored).toMatchObject({ backup: bad, isDone: false });
        expect(seen()?.restored?.because).toMatch(why);
        expect(seen()?.restored?.because).toContain('nothing was changed');
        await poll(() => seen()?.doing ?? null).toBeNull();
        expect(existsSync(join(tree, 'restoring'))).toBe(false);
      }
      vault.restore(id);
      await poll(() => [asked.length, seen()?.restored?.backup === id]).toEqual([1, false]);
      expect(asked[0]?.because).toMatch(
        /kept as replaced-3; at the end of its config\/gitlab\.rb stands now what its gate needs, against lines 2, 3; its gitlab.rb says https:\/\/git\.example\.org: who browses needs a proxy/,
      );
      const source = join(tree, 'restoring');
      await swapData({ place, owner: { ...owner, data: 'data-2' }, next: 4, ledger: null, source, about }, systemTools);
      expect(markedEpoch(join(tree, 'live/data'), { ...owner, data: 'data-2' })).toBe(4);
      const ruby = readFileSync(join(tree, 'live/config/gitlab.rb'), 'utf8');
      expect([ruby.startsWith(ownRb), againstGate(ruby, 'http://gitlab.lan:8080')]).toEqual([true, []]);
      expect(readFileSync(join(tree, 'bulk/artifact'), 'utf8')).toBe('artifact of then');
      expect(readFileSync(join(tree, 'replaced-3/bulk/artifact'), 'utf8')).toBe('artifact of the new one');
    } finally {
      await vault.stop();
    }
  });

  it('lists the rounds of its place with who else has them, and puts one back as a writable snapshot', async () => {
    const { vault, tree, place, asked, seen } = await host();
    const poll = (what: () => unknown) => expect.poll(what, { timeout: 20_000, interval: 50 });
    const at = (path: string): string => join(place.folders.data, path);
    const version = (text: string): void => {
      mkdirSync(at('gitlab-rails'), { recursive: true });
      writeFileSync(at('gitlab-rails/VERSION'), `${text}\n`);
    };
    const parts = { owner, disk: new RoundDisk(tree, replicaTools), tools: replicaTools };
    const [hot, bulk] = [new BtrfsReplica('hot', tree, parts), new BtrfsReplica('bulk', tree, parts)];
    for (const one of [hot, bulk]) await one.open();
    const name = (number: number) => ({ era: 1, epoch: 3, number });
    version('19.4.1');
    await hot.snapshot(name(1), 0);
    await bulk.snapshot(name(1), 0);
    version('19.3.9');
    await hot.snapshot(name(2), 1);
    version('19.4.1');
    writeFileSync(at('git-data/repositories/a.git/HEAD'), 'ref: refs/heads/now');
    mkdirSync(at('git-data/repositories/1.git'));
    writeFileSync(join(place.folders.bulk, 'artifact'), 'artifact of now');
    holders = [{ name: 'desktop-1', rounds: [name(1), name(7)] }];
    const { rows } = await vault.rows(true);
    expect(rows.map(({ id, version: of, on }) => [id, of, on])).toEqual([
      ['round-1-3-2', '19.3.9', ['kang']],
      ['round-1-3-1', '19.4.1', ['kang', 'desktop-1']],
      ['round-1-3-7', null, ['desktop-1']],
    ]);
    expect(rows[1]?.because).toBe('a round on kang, desktop-1 too');
    expect(rows[2]?.because).toBe('a round on desktop-1 alone, which does not answer');
    // One that answers says of when and of which version.
    const dated = async () => [{ name: name(7), wallMs: 7, version: '19.4.1' }];
    keepers = [{ name: 'desktop-1', line: { dated, bring: () => Promise.reject(new Error('its cable is out')) } }];
    expect((await vault.rows(true)).rows.at(-1)).toMatchObject({
      ...{ id: 'round-1-3-7', at: 7, version: '19.4.1', on: ['desktop-1'] },
      because: 'a round on desktop-1 alone, brought over when it is restored',
    });
    // Who asks as an earlier version does hears of none.
    expect((await vault.rows()).rows).toEqual([]);
    for (const [id, why] of [
      ['round-1-3-2', /is of GitLab 19.3.9, and 19.4.1 runs here.* restore round-1-3-2 --project .*history$/],
      ['round-1-3-8', /is not on this machine, and is not brought from another one: desktop-1 does not hold it/],
      ['round-1-3-7', /nothing was changed: .*: desktop-1: it did not come whole: its cable is out/],
    ] as const) {
      vault.restore(id);
      await poll(() => seen()?.restored?.because).toMatch(why);
      await poll(() => seen()?.doing ?? null).toBeNull();
    }
    const elsewhere = 'round-1-3-7 lies on desktop-1 only, and is brought from there for a restore alone';
    mkdirSync(join(place.folders.bulk, 'packages'));
    writeFileSync(join(place.folders.bulk, 'packages/1'), '');
    await expect(vault.compare('round-1-3-7', 0)).rejects.toThrow(elsewhere);
    await expect(vault.compare('round-1-3-8', 0)).rejects.toThrow(/is not on this machine/);
    expect(await vault.compare('round-1-3-1', 0)).toMatchObject({
      ...{ rows: [{ repository: '1.git', what: 'new' }], total: 1, from: 0 },
      files: [{ kind: 'packages', then: 0, now: 1 }],
      notes: [expect.stringContaining("GitLab does not tell its projects' names")],
    });
    vault.restore('round-1-3-1');
    await poll(() => asked.length).toBe(1);
    expect(asked[0]?.because).toMatch(/restored as of .* \(round-1-3-1\); what was before is kept as replaced-3/);
    const of = join(tree, 'restoring');
    expect(readdirSync(join(of, 'live/data/git-data/repositories/a.git'))).toEqual(['HEAD']);
    expect(readFileSync(join(of, 'live/data/git-data/repositories/a.git/HEAD'), 'utf8')).toContain('then');
    expect(readFileSync(join(of, 'bulk/artifact'), 'utf8')).toBe('artifact of then');
    writeFileSync(join(of, 'live/data/is-writable'), '');
    expect(readFileSync(at('git-data/repositories/a.git/HEAD'), 'utf8')).toContain('now');
    await vault.stop();
  });

  it('a plain folder is refused in words, and one that is to be uninstalled is not restored', async () => {
    const { vault, hosting, kept } = await host();
    const ending = { since: 1, deleteData: false, now: false, force: false, drained: false };
    Object.assign(hosting, { ending });
    expect(() => vault.restore('abcdef01')).toThrow('it is being uninstalled');
    kept.hosting = { ...hosting, place: { kind: 'folder', path: '/srv/gitlab' } };
    await expect(vault.begin(begin())).rejects.toThrow('a plain folder, which has no snapshots');
  });
});
