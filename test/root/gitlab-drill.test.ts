import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { systemClock } from '../../node/clock.ts';
import { DockerClones } from '../../node/hosting/clone/clone-engine.ts';
import { type CloneWish, type GitlabClone, GitlabClones } from '../../node/hosting/clone/gitlab-clones.ts';
import type { DataPlace } from '../../node/hosting/data-place.ts';
import { DockerServiceHost } from '../../node/hosting/docker-service-host.ts';
import {
  database,
  fsck,
  ownChecks,
  partOf,
  refs,
  repositoriesIn,
  secrets,
} from '../../node/hosting/drill/drill-checks.ts';
import { drill } from '../../node/hosting/drill/gitlab-drill.ts';
import { mountsOf } from '../../node/hosting/mount-table.ts';
import { openPlace } from '../../node/hosting/place-making.ts';
import { treeOf } from '../../node/hosting/place-tree.ts';
import type { DrillStep } from '../../protocol/report.ts';
import { install } from '../bench/debian.ts';
import { standInImage } from '../gitlab-image/stand-in-image.ts';
import { hostingPrograms } from '../hosting/stand/programs.ts';

/** What a drill finds: damage that was planted in a copy, by real PostgreSQL and real git in the stand-in image. */
const mesh = `t-drill-mesh-${process.pid}`;
const data = `t-drill-${process.pid}`;
const quick = `autogit-test:drill-${process.pid}`;
const MiB = 1 << 20;
const folder = mkdtempSync('/var/tmp/t-drill-');
const host = new DockerServiceHost(null, systemClock());
const engine = new DockerClones(null, systemClock());
const silent = { info: () => undefined, warn: () => undefined };
const clones = new GitlabClones({ self: 'B', host, engine, log: silent });
const run = (program: string, ...args: string[]): string => execFileSync(program, args, { encoding: 'utf8' }).trim();
const signal = new AbortController().signal;
const repository = '@hashed/aa/bb/first.git';
let place: DataPlace;
let tree: string;
let wish: CloneWish;

beforeAll(async () => {
  await install(hostingPrograms);
  const made = run('docker', 'create', await standInImage(), 'true');
  const change = 'ENV STAND_IN_BOOT_SECONDS=0 STAND_IN_RECONFIGURE_SECONDS=0';
  run('docker', 'commit', '--change', change, '--change', 'CMD ["/assets/init-container"]', made, quick);
  run('docker', 'rm', made);
  const at = { kind: 'image' as const, path: join(folder, 'place') };
  place = await openPlace(at, { mesh, data, epoch: 1, role: 'standby', create: { bytes: 600 * MiB, reserveBytes: 0 } });
  tree = treeOf(place);
  run('btrfs', 'subvolume', 'create', join(tree, 'empty'));
  for (const name of ['config', 'data']) mkdirSync(join(tree, 'empty', name), { mode: 0o755 });
  wish = {
    ...{
      mesh,
      data,
      purpose: 'drill',
      place,
      image: quick,
      preset: 'minimal',
      url: 'http://gitlab.test',
      isPolite: true,
    },
    source: { hot: join(tree, 'empty'), bulk: null },
    roomBytes: 300 * MiB,
  };
}, 300_000);

afterAll(async () => {
  for (const { id } of await engine.find(mesh, 'B')) spawnSync('docker', ['rm', '-fv', id], { stdio: 'ignore' });
  await place?.close();
  for (const { point } of mountsOf('self').filter((one) => one.point.startsWith(folder))) run('umount', point);
  spawnSync('docker', ['rmi', quick], { stdio: 'ignore' });
  spawnSync('chattr', ['-i', join(folder, 'place/mounted')], { stdio: 'ignore' });
  rmSync(folder, { recursive: true, force: true });
});

async function inside(clone: GitlabClone, script: string): Promise<string> {
  const { code, out } = await clone.exec(['sh', '-ec', script], { timeoutMs: 30_000 });
  if (code !== 0) throw new Error(`${script}: ${out}`);
  return out;
}

/** As GitLab writes: a repository with a history, a token that is encrypted, rows over several pages. */
const used = `
git config --global --add safe.directory '*'
cd /var/opt/gitlab/git-data/repositories
mkdir -p @hashed/aa/bb; cd @hashed/aa/bb
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git init -q --bare -b main first.git; cd first.git
blob=$(echo contents | git hash-object -w --stdin)
tree=$(printf '100644 blob %s\\tfile\\n' $blob | git mktree)
commit=$(git commit-tree -m first $tree)
git update-ref refs/heads/main $commit; git update-ref refs/heads/other $commit
chown -R git:git /var/opt/gitlab/git-data/repositories/@hashed
gitlab-psql -qc "create table pages as select i, repeat(md5(i::text), 8) as text from generate_series(1, 2000) i; create index on pages (i)"
gitlab-rails runner "t=User.find_by_username('root').personal_access_tokens.create(scopes:['api'],name:'t'); t.set_token('glpat-0123456789abcdefghij'); t.save!"
`;

it('finds a blob, a ref, a page of the database and a secrets file that are damaged, and nothing before', {
  timeout: 60_000,
}, async () => {
  const clone = await clones.start(wish, { signal });
  await clone.untilItWorks(40_000);
  await inside(clone, used);
  const { paths, strange } = await repositoriesIn(clone.folders.data);
  expect({ paths, strange }).toEqual({ paths: [`/var/opt/gitlab/git-data/repositories/${repository}`], strange: 0 });
  const [path] = paths as [string];
  const said: number[] = [];
  await expect.poll(() => clone.works(), { timeout: 10_000 }).toBeNull();
  expect(await ownChecks(clone)).toEqual({ state: 'ok', sentence: 'gitlab:check finds nothing wrong' });
  expect(await secrets(clone)).toMatchObject({ state: 'ok' });
  expect(await refs(clone, paths, (done) => void said.push(done))).toEqual({
    state: 'ok',
    sentence: 'all refs of 1 repository lead to objects',
  });
  expect(said).toEqual([0]);
  expect(await fsck(clone, paths, partOf(path), () => undefined)).toMatchObject({
    state: 'ok',
    sentence: expect.stringMatching(/^1 of 1 repository read whole/),
  });
  expect(await database(clone)).toEqual({
    state: 'ok',
    sentence: '2 databases read whole, and amcheck; checksums of pages are on',
  });
  // The copy that the next test drills.
  await inside(clone, 'gitlab-psql -qc checkpoint; gitlab-redis-cli save');
  run('btrfs', 'subvolume', 'snapshot', '-r', join(tree, 'clone/live'), join(tree, 'hot'));

  await inside(
    clone,
    `cd ${path}; git rev-parse main > refs/heads/broken; echo 1234567890123456789012345678901234567890 > refs/heads/lost; echo nonsense > refs/heads/odd`,
  );
  expect(await refs(clone, paths, () => undefined)).toMatchObject({
    state: 'fail',
    sentence: expect.stringMatching(
      /^a repository has refs that lead nowhere: @hashed\/aa\/bb\/first.git \(.*(odd|lost|1234567890)/,
    ),
  });
  // A byte in the middle of a blob: its ref still leads to a commit.
  await inside(
    clone,
    `cd ${path}; rm refs/heads/lost refs/heads/odd; f=objects/$(git rev-parse main:file | sed 's#^..#&/#'); chmod u+w $f; printf X | dd of=$f bs=1 seek=12 conv=notrunc`,
  );
  expect(await refs(clone, paths, () => undefined)).toMatchObject({ state: 'ok' });
  expect(await fsck(clone, paths, (partOf(path) + 1) % 14, () => undefined)).toMatchObject({ state: 'ok' });
  expect(await fsck(clone, paths, partOf(path), () => undefined)).toMatchObject({
    state: 'fail',
    sentence: expect.stringContaining('a repository has damaged objects: @hashed/aa/bb/first.git'),
  });
  // One bit of a row: nothing but the page's checksum tells.
  await inside(
    clone,
    `f=/var/opt/gitlab/postgresql/data/$(gitlab-psql -XqAtc "select pg_relation_filepath('pages')"); gitlab-ctl stop postgresql >/dev/null 2>&1 || true; printf Z | dd of=$f bs=1 seek=20000 conv=notrunc; gitlab-ctl start postgresql >/dev/null 2>&1; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do gitlab-psql -qc 'select 1' >/dev/null 2>&1 && break; sleep 0.5; done`,
  );
  expect(await database(clone)).toMatchObject({
    state: 'fail',
    sentence: expect.stringMatching(/^the database is damaged: gitlabhq_production \(.*(invalid page|checksum)/),
  });
  // Another secrets file, as a start makes one where it is missing.
  await inside(clone, `f=/etc/gitlab/gitlab-secrets.json; sed -i 's/"[0-9a-f]\\{60\\}/"${'0'.repeat(60)}/' $f`);
  expect(await secrets(clone)).toMatchObject({
    state: 'fail',
    sentence: expect.stringMatching(/rows of the database cannot be decrypted/),
  });
  await clone.end();
});

it('proves a copy that is whole, with how long each step took, and finds that its secrets file is gone', {
  timeout: 60_000,
}, async () => {
  const steps: DrillStep[] = [];
  const parts = { clones, part: 3, signal, say: () => undefined, onStep: (step: DrillStep) => void steps.push(step) };
  const { purpose: _p, isPolite: _i, roomBytes: _r, ...rest } = wish;
  const source = { hot: join(tree, 'hot'), bulk: null };
  const whole = await drill({ ...rest, source }, parts);
  expect(whole).toMatchObject({ isProven: true, because: 'GitLab works, and all that was looked at is whole' });
  expect(steps).toEqual(whole.steps);
  expect(steps.map(({ step, state }) => `${step} ${state}`)).toEqual(
    ['secrets file', 'clone', 'boot', 'checks', 'secrets', 'refs', 'repositories', 'database'].map(
      (one) => `${one} ok`,
    ),
  );
  expect(steps.every(({ ms }) => ms >= 0 && ms < 60_000)).toBe(true);
  run('btrfs', 'subvolume', 'snapshot', join(tree, 'hot'), join(tree, 'bad'));
  rmSync(join(tree, 'bad/config/gitlab-secrets.json'));
  expect(await drill({ ...rest, source: { hot: join(tree, 'bad'), bulk: null } }, parts)).toMatchObject({
    isProven: false,
    because: expect.stringContaining('gitlab-secrets.json is not there'),
  });
  // Ended by its owner: no verdict, and nothing is left.
  const abort = new AbortController();
  const ended = drill(
    { ...rest, source },
    { ...parts, signal: abort.signal, onStep: ({ step }) => step === 'clone' && abort.abort() },
  );
  await expect(ended).rejects.toThrow();
  expect(await engine.find(mesh, 'B')).toEqual([]);
  expect(clones.purpose).toBeNull();
});
