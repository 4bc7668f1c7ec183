import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { systemClock } from '../../node/clock.ts';
import { DockerClones } from '../../node/hosting/clone/clone-engine.ts';
import { type CloneWish, GitlabClones } from '../../node/hosting/clone/gitlab-clones.ts';
import type { DataPlace } from '../../node/hosting/data-place.ts';
import { DockerServiceHost } from '../../node/hosting/docker-service-host.ts';
import { mountsOf } from '../../node/hosting/mount-table.ts';
import { openPlace } from '../../node/hosting/place-making.ts';
import { treeOf } from '../../node/hosting/place-tree.ts';
import { findGitlabHere } from '../../node/machine/gitlab-here.ts';
import { install } from '../bench/debian.ts';
import { standInImage } from '../gitlab-image/stand-in-image.ts';
import { hostingPrograms } from '../hosting/stand/programs.ts';

/** A GitLab on a writable snapshot, without network: real btrfs, a real engine, the stand-in image. */
const mesh = `t-clone-mesh-${process.pid}`;
const data = `t-clone-${process.pid}`;
const quick = `autogit-test:clone-${process.pid}`;
const MiB = 1 << 20;
const folder = mkdtempSync('/var/tmp/t-clone-');
const clock = systemClock();
const host = new DockerServiceHost(null, clock);
const engine = new DockerClones(null, clock);
const said: string[] = [];
const log = { info: (text: string) => void said.push(text), warn: (text: string) => void said.push(text) };
const run = (program: string, ...args: string[]): string => execFileSync(program, args, { encoding: 'utf8' }).trim();
const clones = (self = 'kang') => new GitlabClones({ self, host, engine, log });
let place: DataPlace;
let tree: string;
let wish: CloneWish;

beforeAll(async () => {
  await install(hostingPrograms);
  const made = run('docker', 'create', await standInImage(), 'true');
  const change = 'ENV STAND_IN_BOOT_SECONDS=1 STAND_IN_RECONFIGURE_SECONDS=0';
  run('docker', 'commit', '--change', change, '--change', 'CMD ["/assets/init-container"]', made, quick);
  run('docker', 'rm', made);
  const at = { kind: 'image' as const, path: join(folder, 'place') };
  place = await openPlace(at, { mesh, data, epoch: 1, role: 'standby', create: { bytes: 600 * MiB, reserveBytes: 0 } });
  tree = treeOf(place);
  // What a standby has of a round.
  for (const part of ['hot', 'bulk']) run('btrfs', 'subvolume', 'create', join(tree, part));
  for (const name of ['config', 'data']) mkdirSync(join(tree, 'hot', name), { mode: 0o755 });
  for (const left of ['git-data/repositories/a.git/refs/heads/main.lock', 'git-data/repositories/a.git/gc.pid']) {
    mkdirSync(join(tree, 'hot/data', left, '..'), { recursive: true });
    writeFileSync(join(tree, 'hot/data', left), '');
  }
  for (const part of ['hot', 'bulk']) run('btrfs', 'property', 'set', join(tree, part), 'ro', 'true');
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
    source: { hot: join(tree, 'hot'), bulk: join(tree, 'bulk') },
    roomBytes: 300 * MiB,
  };
}, 300_000);

afterAll(async () => {
  for (const self of ['kang', 'other'])
    for (const { id } of await engine.find(mesh, self)) spawnSync('docker', ['rm', '-fv', id], { stdio: 'ignore' });
  await place?.close();
  for (const { point } of mountsOf('self').filter((one) => one.point.startsWith(folder))) run('umount', point);
  spawnSync('docker', ['rmi', quick], { stdio: 'ignore' });
  spawnSync('chattr', ['-i', join(folder, 'place/mounted')], { stdio: 'ignore' });
  rmSync(folder, { recursive: true, force: true });
});

it('boots, is reached by nobody, and leaves what it was made of as it was', { timeout: 60_000 }, async () => {
  const steps: string[] = [];
  const one = clones();
  const clone = await one.start(wish, { signal: new AbortController().signal, say: (phase) => void steps.push(phase) });
  expect(one.purpose).toBe('drill');
  await expect(one.start(wish, { signal: new AbortController().signal })).rejects.toMatchObject({
    code: 'clone',
    message: 'a clone runs on this machine already: drill',
  });
  // Before its first process could write.
  expect(existsSync(join(clone.folders.data, 'git-data/repositories/a.git/gc.pid'))).toBe(false);
  expect(readdirSync(join(clone.folders.data, 'git-data/repositories/a.git/refs/heads'))).toEqual([]);
  expect(await clone.untilItWorks(40_000)).toBeGreaterThan(0);
  expect(await clone.works()).toBeNull();
  expect((await clone.exec(['ls', '/sys/class/net'], { timeoutMs: 5000 })).out.trim()).toBe('lo');
  // Gitaly runs what it unpacks there; the place is mounted noexec.
  const program = '/var/opt/gitlab/gitaly/run/program';
  const script = `cp /bin/true ${program} && ${program} && echo runs; cp /bin/true /var/opt/gitlab/program && /var/opt/gitlab/program 2>&1`;
  const { out, code } = await clone.exec(['sh', '-c', script], { timeoutMs: 5000 });
  expect(out).toMatch(/^runs\n.*Permission denied/s);
  expect(code).not.toBe(0);
  // Neither keeper nor doctor takes it for a GitLab that serves.
  expect(await host.find(mesh)).toEqual([]);
  expect((await findGitlabHere(null)).filter(({ data: at }) => at?.startsWith(folder))).toEqual([]);
  expect(readdirSync(join(tree, 'hot/data'))).toEqual(['git-data']);
  await clone.end();
  expect(one.purpose).toBeNull();
  expect(await engine.find(mesh, 'kang')).toEqual([]);
  expect(existsSync(join(tree, 'clone'))).toBe(false);
  await expect(clone.exec(['true'], { timeoutMs: 5000 })).rejects.toMatchObject({ code: 'clone' });
  expect(steps).toEqual(['removes what an earlier one left', 'takes writable snapshots', 'starts its container']);
});

it('what a killed agent left is removed by the next one, and an abort ends it', { timeout: 60_000 }, async () => {
  await clones().start(wish, { signal: new AbortController().signal });
  expect(await engine.find(mesh, 'kang')).toHaveLength(1);
  // Another agent's on the same engine is not its own.
  expect(await engine.find(mesh, 'other')).toEqual([]);
  const abort = new AbortController();
  const next = clones();
  const clone = await next.start(wish, { signal: abort.signal });
  expect(said.join()).toContain('a clone of GitLab that an earlier agent left is removed: drill');
  expect(await engine.find(mesh, 'kang')).toHaveLength(1);
  const waits = clone.untilItWorks(30_000);
  abort.abort();
  await expect(waits).rejects.toMatchObject({ code: 'clone', message: 'the clone was ended: drill' });
  await clone.end();
  expect(await engine.find(mesh, 'kang')).toEqual([]);
  expect(existsSync(join(tree, 'clone'))).toBe(false);
});

it('refuses in words: no image, no memory, no room, a link in the place of a folder, a GitLab that ends', {
  timeout: 60_000,
}, async () => {
  const { signal } = new AbortController();
  await expect(clones().start({ ...wish, image: 'autogit-test:none' }, { signal })).rejects.toMatchObject({
    code: 'image-missing',
    hint: 'docker pull autogit-test:none',
  });
  const small = new GitlabClones({ self: 'kang', host, engine, log, availableBytes: async () => 1 << 30 });
  await expect(small.start(wish, { signal })).rejects.toMatchObject({
    code: 'clone',
    message: expect.stringMatching(/^a drill needs 2.5 ?GiB of memory, and 512.* stay for the machine: 1.* are free$/),
  });
  await expect(clones().start({ ...wish, roomBytes: 2 ** 50 }, { signal })).rejects.toMatchObject({
    code: 'data-place',
  });
  run('btrfs', 'subvolume', 'create', join(tree, 'bad'));
  mkdirSync(join(tree, 'bad/data'));
  symlinkSync('/etc', join(tree, 'bad/config'));
  await expect(
    clones().start({ ...wish, source: { ...wish.source, hot: join(tree, 'bad') } }, { signal }),
  ).rejects.toMatchObject({ code: 'clone', message: expect.stringContaining('bad/config is no folder') });
  expect(existsSync(join(tree, 'clone'))).toBe(false);
  rmSync(join(tree, 'bad/config'));
  mkdirSync(join(tree, 'bad/config'));
  mkdirSync(join(tree, 'bad/data/gitlab-rails'), { recursive: true });
  // Data of a later GitLab than the image.
  writeFileSync(join(tree, 'bad/data/gitlab-rails/VERSION'), '99.1.0');
  const clone = await clones().start({ ...wish, source: { ...wish.source, hot: join(tree, 'bad') } }, { signal });
  await expect(clone.untilItWorks(30_000)).rejects.toMatchObject({
    code: 'clone',
    message: /has ended; its last words/,
  });
  await clone.end();
  run('btrfs', 'subvolume', 'delete', join(tree, 'bad'));
});
