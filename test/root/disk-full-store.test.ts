import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HomeDisk } from '../../node/agent/home-disk.ts';
import { AuditFile } from '../../node/history/audit-file.ts';
import { replaceFileNow } from '../../node/hosting/replace-file-now.ts';
import type { Store, Workspace } from '../../node/ports.ts';
import { downloadInto } from '../../node/runs/artifact-down.ts';
import { CacheStore } from '../../node/runs/cache/cache-store.ts';
import { initTree, layFiles, takeFrom } from '../../node/runs/git-tree.ts';
import { openStore } from '../../node/store/level-store.ts';

/** A disk of its own for each test, small enough to be filled. */
let dir: string;
let disk: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 't-disk-'));
  disk = join(dir, 'disk');
  execFileSync('sh', ['-c', 'mkdir "$1" && mount -t tmpfs -o size=6m,mode=700 tmpfs "$1"', 'sh', disk]);
});
afterEach(() => {
  execFileSync('umount', ['-l', disk]);
  rmSync(dir, { recursive: true, force: true });
});

/** Takes all the room there is, but for about `left` bytes (tmpfs counts pages). */
function fillDisk(left: number): void {
  const file = openSync(join(disk, 'filler'), 'w');
  const block = Buffer.alloc(4096, 1);
  let size = 0;
  try {
    for (;;) size += writeSync(file, block);
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOSPC' });
  }
  closeSync(file);
  execFileSync('truncate', ['-s', String(Math.max(0, size - left)), join(disk, 'filler')]);
}
const freeDisk = (): void => rmSync(join(disk, 'filler'), { force: true });
const vote = (term: number) => [{ key: 'promise' as const, value: { term, votedFor: 'kang' } }];

async function fillUntilRejected(store: Store, bytes: number): Promise<void> {
  const text = 'x'.repeat(bytes);
  let rejections = 0;
  for (let i = 0; i < 3000 && rejections < 3; i++)
    await store.put(`big-${i}`, text).catch((error: Error) => {
      expect(error).toMatchObject({ code: 'store-failed' });
      expect(error.message).toMatch(/No space left/);
      rejections += 1;
    });
  expect(rejections).toBe(3);
}

// Where the torn end lies in LevelDB's blocks of 32 KiB decides what it does with it.
it.each([
  [100, 0],
  [700, 8192],
  [5000, 12_288],
  [30_000, 40_960],
  [70_000, 100_000],
])(
  'after a full disk what is acknowledged is there, also after kill -9 (records of %i bytes, %i left)',
  async (bytes, left) => {
    const folder = join(disk, 'store');
    const store = await openStore(folder);
    await store.write(vote(1));
    fillDisk(left);
    await fillUntilRejected(store, bytes);
    await expect(store.write(vote(2))).rejects.toMatchObject({ code: 'store-failed' });
    freeDisk();
    for (let term = 3; term <= 22; term++) await store.write(vote(term));
    await store.put('late', 'kept');
    expect((await store.load()).promise).toEqual({ term: 22, votedFor: 'kang' });

    // What lies on the disk now is what a process that is killed leaves.
    const killed = join(dir, 'killed');
    cpSync(folder, killed, { recursive: true });
    const after = await openStore(killed);
    expect((await after.load()).promise).toEqual({ term: 22, votedFor: 'kang' });
    expect(await after.get('late')).toBe('kept');
    await after.close();
    await store.close();
    const again = await openStore(folder);
    expect((await again.load()).promise.term).toBe(22);
    expect(again.id).toBe(store.id);
    await again.close();
  },
);

it('an agent that is killed while its disk is full starts again when there is room', async () => {
  const folder = join(disk, 'store');
  const store = await openStore(folder);
  await store.write(vote(5));
  fillDisk(4096);
  await fillUntilRejected(store, 3000);
  const killed = join(dir, 'killed');
  cpSync(folder, killed, { recursive: true });
  const after = await openStore(killed);
  expect((await after.load()).promise.term).toBe(5);
  await after.close();
  await expect(store.close()).resolves.toBeUndefined();
});

it('caches of jobs are given back before a job is ended for the full disk', async () => {
  const said: string[] = [];
  const ended: string[] = [];
  const log = { info: (text: string) => void said.push(text), warn: (text: string) => void said.push(text) };
  const caches = new CacheStore({ home: disk, limitBytes: 4 << 20, log, wallMs: () => Date.now() });
  const owner = { instance: 'i', projectId: 1, executor: 'docker', architecture: 'amd64' };
  const file = await caches.spool();
  writeFileSync(file, Buffer.alloc(3 << 20));
  await caches.keep(owner, 'k', file);
  const watch = new HomeDisk({
    home: disk,
    bootMs: () => performance.now(),
    running: () => [{ run: 'r', job: 7, usedBytes: async () => 2 << 20 }],
    endRun: (run) => void ended.push(run),
    giveWay: (bytes) => caches.giveBack(bytes),
    onFull: () => {},
  });
  fillDisk(100);
  await watch.look();
  expect(said).toEqual([expect.stringMatching(/^the disk is full: removed 1 caches of jobs, 3 MiB/)]);
  expect(ended).toEqual([]);
  // Nothing is left to give: now it is the job's turn.
  expect(() => writeFileSync(join(disk, 'more'), Buffer.alloc(6 << 20))).toThrow(/ENOSPC/);
  await watch.look();
  expect(ended).toEqual(['r']);
});

it('a file that is replaced on a disk that is nearly full is the old one whole, and who asked hears of it', () => {
  const path = join(disk, 'page.json');
  const old = JSON.stringify({ version: 1, what: 'x'.repeat(20_000) });
  replaceFileNow(path, old);
  fillDisk(8192);
  expect(() => replaceFileNow(path, JSON.stringify({ version: 2, what: 'y'.repeat(40_000) }))).toThrow(/ENOSPC/);
  expect(readFileSync(path, 'utf8') === old).toBe(true);
});

it('what people did is written down whole, or once there is room: nothing that was is taken for written', async () => {
  const act = (n: number) => ({ n, at: n, who: 'kang', on: 'kang', what: 'drain', sentence: 'x'.repeat(3000) });
  const path = join(disk, 'audit.jsonl');
  const audit = new AuditFile(path);
  audit.append([act(1)]);
  fillDisk(8192);
  const newest = [1, 2, 3, 4, 5, 6].map(act);
  expect(() => audit.append(newest)).toThrow(/ENOSPC/);
  freeDisk();
  audit.append(newest);
  expect((await audit.entries()).map(({ n }) => n)).toEqual([1, 2, 3, 4, 5, 6]);
});

it('what comes of a GitLab that does not say how much stops before the disk of the home is full', async () => {
  execFileSync('mount', ['-o', 'remount,size=100m', disk]);
  let sent = 0;
  const endless = createServer((_, response) => {
    response.writeHead(200, { 'content-type': 'application/zip' });
    const block = Buffer.alloc(1 << 20, 1);
    const more = (): void => {
      while (sent < 400 << 20 && !response.destroyed) {
        sent += block.length;
        if (!response.write(block)) return void response.once('drain', more);
      }
      response.end();
    };
    more();
  }).listen(0, '127.0.0.1');
  await once(endless, 'listening');
  let leastFree = Number.POSITIVE_INFINITY;
  const looking = setInterval(() => {
    leastFree = Math.min(leastFree, statfsSync(disk).bavail * statfsSync(disk).bsize);
  }, 5);
  try {
    const { port } = endless.address() as AddressInfo;
    const line = { url: `http://127.0.0.1:${port}`, job: 1, token: 't' };
    const nowhere = {} as Workspace;
    const answer = await downloadInto(nowhere, line, join(disk, 'upload'), new AbortController().signal);
    expect(answer).toEqual({
      ...{ kind: 'refused', disowned: false },
      because: "the disk of this node's home has too little room left for the artifacts",
    });
    // A tenth is the reserve, of which the last look leaves all but 8 MiB and what a stream holds.
    expect(leastFree).toBeGreaterThan(1 << 20);
    expect(readdirSync(disk)).toEqual([]);
  } finally {
    clearInterval(looking);
    endless.closeAllConnections();
    endless.close();
  }
});

describe('a commit of a few kB that stands for more than the disk holds', () => {
  const never = new AbortController().signal;
  const git = (cwd: string, args: string[], input = ''): string =>
    execFileSync('git', args, { cwd, input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'inherit'] }).trim();

  /** Ten entries in each of so many levels, all of them the same blob. */
  function bomb(repository: string, content: string, levels: number): string {
    mkdirSync(repository);
    git(repository, ['init', '--quiet', '--bare', '.']);
    git(repository, ['config', 'uploadpack.allowAnySHA1InWant', 'true']);
    let entry = `100644 blob ${git(repository, ['hash-object', '-w', '--stdin'], content)}`;
    for (let level = 0; level < levels; level++) {
      const names = Array.from({ length: 10 }, (_, at) => `${entry}\t${at}\n`).join('');
      entry = `040000 tree ${git(repository, ['mktree'], names)}`;
    }
    const who = ['-c', 'user.name=t', '-c', 'user.email=t@t'];
    return git(repository, [...who, 'commit-tree', entry.split(' ')[2] as string, '-m', 'bomb']);
  }

  it.each([
    ['bytes', 'x'.repeat(1 << 20), 3],
    ['files', '', 5],
  ] as const)('of %s: its job fails, and room is left for all else', async (_, content, levels) => {
    execFileSync('mount', ['-o', 'remount,size=600m,nr_inodes=60000', disk]);
    const [mirror, tree] = [join(dir, 'mirror'), join(disk, 'tree')];
    const sha = bomb(mirror, content, levels);
    mkdirSync(tree);
    const least = { bytes: Number.POSITIVE_INFINITY, files: Number.POSITIVE_INFINITY };
    const looking = setInterval(() => {
      const { bavail, bsize, ffree } = statfsSync(disk);
      least.bytes = Math.min(least.bytes, bavail * bsize);
      least.files = Math.min(least.files, ffree);
    }, 20);
    try {
      await initTree(tree, sha, never);
      await takeFrom(tree, { mirror, depth: 1, tags: 'none', wanted: [sha] }, never);
      await expect(layFiles(tree, sha, never)).rejects.toThrow(
        "the disk of this node's home has too little room left for the sources",
      );
      expect(least.bytes).toBeGreaterThan(8 << 20);
      expect(least.files).toBeGreaterThan(100);
    } finally {
      clearInterval(looking);
    }
  });
});
