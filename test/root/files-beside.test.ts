import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { DockerExecutor } from '../../node/executors/docker-executor.ts';
import { madeEntry, readTar, writeTar } from '../../node/executors/tar-format.ts';
import type { FilesBeside, Workspace } from '../../node/ports.ts';
import { allOf, keptTree, never, runStep, specOf, tarOf } from '../contract/executor-steps.ts';
import { makeTestImages, removeNetwork, testImages } from './test-image.ts';

const node = `beside-${process.pid}`;
const home = mkdtempSync(join(tmpdir(), 'files-beside-'));
const warned: string[] = [];
const log = { info: () => undefined, warn: (line: string) => warned.push(line) };
const executor = new DockerExecutor({ node, home, log });
let open: Workspace[] = [];
let counter = 0;

async function prepare(image: string, tree: string | null = null): Promise<Workspace> {
  const more = tree === null ? {} : { tree: keptTree(tree) };
  const workspace = await executor.prepare(specOf(`${node}-${++counter}`, image, more), never);
  open.push(workspace);
  await workspace.putTar('.', tarOf({ 'here.txt': 'here' }));
  return workspace;
}

const besideOf = async (workspace: Workspace): Promise<FilesBeside> => (await workspace.filesBeside?.()) as FilesBeside;
const left = (): string[] =>
  execFileSync('docker', ['ps', '-a', '--filter', `label=autogit.node=${node}`, '--format', '{{.Names}}'], {
    encoding: 'utf8',
  })
    .split('\n')
    .filter((name) => name.includes('-files-'));

const shown = (content: Buffer): string => (content.length > 100 ? `${content.length} bytes` : String(content));

/** Names and contents of what it gives. */
async function filesBy(beside: FilesBeside, path: string): Promise<Record<string, string>> {
  const names = await allOf((await beside.list([path])).bytes);
  const files: Record<string, string> = {};
  for await (const { name, kind, body, linkname } of readTar((await beside.read(names, [path])).bytes))
    files[name.replace(/^\.\//, '')] = kind === 'file' ? shown(await allOf(body)) : `${kind} ${linkname}`;
  return files;
}

beforeAll(() => makeTestImages());
afterEach(async () => {
  for (const workspace of open) await workspace.remove();
  open = [];
});
afterAll(async () => {
  await executor.sweep(new Set());
  removeNetwork(node);
  execFileSync('sh', ['-c', `docker volume ls -q --filter label=autogit.node=${node} | xargs -r docker volume rm`]);
  rmSync(home, { recursive: true });
});

const odd = Buffer.from([0x61, 0x81, 0x5c, 0x6e, 0x0a, 0xff]).toString('latin1');

it('brings a tar into the tree, kept or not, over whatever is there, and gives it back, whatever bytes are in a name', async () => {
  for (const tree of [null, 'k']) {
    const workspace = await prepare(testImages.bash, tree);
    const was = ['mkdir -p d/was-folder d/sub full/x; echo old >d/same; ln d/same same; ln -s /etc d/link'];
    await runStep(workspace, 0, ...was, 'ln -s sub d/folder; echo kept >d/kept');
    const into = await besideOf(workspace);
    const entries = [
      madeEntry('d/', { kind: 'folder', mode: 0o755 }),
      madeEntry('d/was-folder', { content: 'now a file' }),
      madeEntry('d/same', { content: 'new' }),
      madeEntry('d/folder/', { kind: 'folder', mode: 0o755 }),
      madeEntry('d/folder/in', { content: 'in' }),
      { ...madeEntry('odd', { content: 'odd' }), name: `d/${odd}` },
      madeEntry('d/big', { content: Buffer.alloc(3 << 20, 'b') }),
      madeEntry('d/hard', { kind: 'link', linkname: 'd/same' }),
      madeEntry('d/link', { kind: 'symlink', linkname: '../here.txt' }),
    ];
    expect(await into.put(() => writeTar(entries))).toBe(true);
    await into.close();
    // What the engine's archive removes with all that is in it stays: false, and the engine does it.
    const full = await besideOf(workspace);
    expect(await full.put(() => writeTar([madeEntry('full', { content: 'x' })]))).toBe(false);
    await full.close();
    const { text } = await runStep(
      workspace,
      1,
      'cat same d/was-folder; ls d/sub | wc -l; stat -c %h d/same; cat d/link',
    );
    expect(text).toBe('old\nnow a file0\n2\nhere');
    const out = await besideOf(workspace);
    expect(await filesBy(out, 'd')).toEqual({
      'd/': 'folder ',
      ...{ 'd/kept': 'kept\n', 'd/was-folder': 'now a file', 'd/same': 'new', 'd/hard': expect.anything() },
      ...{ 'd/sub/': 'folder ', 'd/folder/': 'folder ', 'd/folder/in': 'in', [`d/${odd}`]: 'odd' },
      ...{ 'd/big': `${3 << 20} bytes`, 'd/link': 'symlink ../here.txt' },
    });
    // Once: what more is asked goes by the engine.
    expect(String(await allOf((await out.list(['here.txt'])).bytes))).toBe('./here.txt\0');
    await out.close();
    expect([left(), readdirSync(join(home, 'pipes'))]).toEqual([[], []]);
  }
  expect(warned).toEqual([]);
});

it('is led nowhere by a tree: what it links to is the helper’s own, which holds nothing, and what is only in the job’s container comes by the engine', async () => {
  const workspace = await prepare(testImages.bash);
  const { text } = await runStep(
    workspace,
    0,
    'mkdir /own; echo own >/own/f; ln -s /own c; ln -s /pipes p; ln -s / r; pwd',
  );
  const project = text.trim();
  const out = await besideOf(workspace);
  expect(await filesBy(out, 'c/f')).toEqual({ 'c/f': 'own\n' });
  await out.close();
  for (const [name, kept] of [
    ['p/in', 'in'],
    ['r/pipes/new', 'new'],
    ['r/bin/sh', 'sh'],
  ] as const) {
    const into = await besideOf(workspace);
    expect(await into.put(() => writeTar([madeEntry(name, { content: 'hostile' })]))).toBe(false);
    for (const folder of readdirSync(join(home, 'pipes')))
      expect(readdirSync(join(home, 'pipes', folder)).sort(), kept).toEqual(['in', 'names', 'out']);
    await into.close();
  }
  // A tree whose own folder leads away.
  await runStep(
    workspace,
    1,
    `cd /builds; mv ${project} /builds/moved; mkdir /elsewhere; echo own >/elsewhere/names; ln -s /elsewhere ${project}`,
  );
  const away = await besideOf(workspace);
  expect(await filesBy(away, 'names')).toEqual({ names: 'own\n' });
  await away.close();
});

it('a broken source, a tar that is none and an end in the midst leave nothing at work', async () => {
  const workspace = await prepare(testImages.bash);
  const broken = await besideOf(workspace);
  async function* breaking(): AsyncGenerator<Buffer> {
    for await (const chunk of writeTar([madeEntry('big', { content: Buffer.alloc(1 << 20) })])) {
      yield Buffer.from(chunk).subarray(0, 512);
      break;
    }
    throw new Error('a block of it is damaged');
  }
  await expect(broken.put(() => breaking())).rejects.toThrow('a block of it is damaged');
  await broken.close();
  const none = await besideOf(workspace);
  expect(await none.put(() => Readable.from([Buffer.alloc(1 << 20, 'x')]))).toBe(false);
  await none.close();
  const stuck = await besideOf(workspace);
  let begun = (): void => undefined;
  const isBegun = new Promise<void>((resolve) => {
    begun = resolve;
  });
  async function* never(): AsyncGenerator<Buffer> {
    for await (const chunk of writeTar([madeEntry('big', { content: Buffer.alloc(1 << 20) })]))
      yield Buffer.from(chunk).subarray(0, 512);
    begun();
    await new Promise(() => undefined);
  }
  const putting = stuck.put(() => never()).catch((error: Error) => error.message);
  await isBegun;
  // The run is removed meanwhile, and with it what is at work in its tree.
  await workspace.remove();
  open = [];
  expect(await putting).toMatch(/cannot put files/);
  expect([left(), readdirSync(join(home, 'pipes'))]).toEqual([[], []]);
});

it('is not there for a user who is not root, nor in a tree that another mount is in; what an agent that was killed left goes', async () => {
  const dev = await prepare(testImages.sh);
  const into = await besideOf(dev);
  expect(await into.put(() => tarOf({ a: 'a' }))).toBe(false);
  const out = await besideOf(dev);
  expect(await filesBy(out, 'here.txt')).toEqual({ 'here.txt': 'here' });
  await out.close();
  expect(left()).toHaveLength(1);
  const next = new DockerExecutor({ node, home, log });
  mkdirSync(join(home, 'pipes', 'p-old'), { recursive: true });
  writeFileSync(join(home, 'pipes', 'p-old', 'in'), '');
  const run = `${node}-${counter}`;
  await next.sweep(new Set([run]));
  expect(existsSync(join(home, 'pipes'))).toBe(false);
  expect(await next.adopt(specOf(run, testImages.sh), dev.handle)).not.toBe(null);
  expect(left()).toEqual([]);
});
