import { randomBytes } from 'node:crypto';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { CacheRequests } from '../../node/agent/cache-requests.ts';
import { byteName } from '../../node/executors/byte-names.ts';
import { readTar } from '../../node/executors/tar-format.ts';
import { type CacheHead, OpenCache } from '../../node/runs/cache/cache-file.ts';
import { type CacheOwner, CacheStore } from '../../node/runs/cache/cache-store.ts';
import { CacheWriter } from '../../node/runs/cache/cache-writer.ts';
import type { Effort } from '../../node/runs/cache/deflate-block.ts';
import { SpoolFile } from '../../node/runs/spool-file.ts';
import { wholeBody } from '../../node/runs/whole-body.ts';

const top = mkdtempSync(join(tmpdir(), 'autogit-caches-'));
afterAll(() => rmSync(top, { recursive: true, force: true }));
let home: string;
let now = Date.now();
const said: string[] = [];
let store: CacheStore;
const storeOf = (limitBytes?: number): CacheStore => {
  const log = { info: (text: string) => void said.push(text), warn: (text: string) => void said.push(text) };
  return new CacheStore({ home, limitBytes, log, wallMs: () => now });
};
beforeEach(() => {
  home = mkdtempSync(join(top, 'home-'));
  said.length = 0;
  now = Date.now();
  store = storeOf();
});

const owner: CacheOwner = { instance: 'i', projectId: 1, executor: 'process', architecture: 'amd64' };
const head = (key: string, more: Partial<CacheHead> = {}): CacheHead => ({
  ...{ key, project: 'lab/one', savedAt: now, job: 1, ref: 'main', node: 'kang', method: 'deflate' },
  ...more,
});
const facts = (name: string) => ({ name, mode: 0o644, mtime: 1_000_000 });

/** Packs these files, and takes them under the key. */
async function keep(
  key: string,
  files: Record<string, Buffer | string>,
  { of = owner, effort = 5, ...more }: { of?: CacheOwner; effort?: Effort } & Partial<CacheHead> = {},
): Promise<string> {
  const file = await store.spool();
  const out = new SpoolFile(file);
  const writer = new CacheWriter(out, head(key, more), effort);
  for (const [name, content] of Object.entries(files)) {
    const bytes = Buffer.from(content);
    const body = {
      [Symbol.asyncIterator]: async function* () {
        yield bytes;
      },
    };
    if (bytes.length > 1000) await writer.file(facts(name), bytes.length, body);
    else writer.small(facts(name), bytes);
  }
  const { content } = writer.end().tail;
  out.close();
  await store.keep(of, key, file);
  return content;
}

async function filesOf(found: OpenCache | null): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for await (const entry of readTar(found?.tar() as AsyncIterable<Uint8Array>)) {
    const chunks: Uint8Array[] = [];
    for await (const chunk of entry.body) chunks.push(Buffer.from(chunk));
    files[entry.name] = `${entry.kind}:${entry.linkname}${Buffer.concat(chunks)}`;
  }
  await found?.close();
  return files;
}

describe('caches that are kept', () => {
  const large = Buffer.from(Array.from({ length: 400_000 }, (_, index) => (index * 7919) >> 3).join('.'));

  it.each([
    ['stored', 5],
    ['deflate', 5],
    ['deflate', 'least'],
  ] as const)('come back as they were, over many blocks, %s, %s', async (method, effort) => {
    const content = await keep('k', { a: 'body', 'd/large': large, [byteName('é\n')]: '' }, { method, effort });
    const found = await store.open(owner, 'k');
    // No folder stands before `d/large`.
    expect(found?.tail).toMatchObject({ files: 3, content, isPlain: false });
    expect(await filesOf(found)).toEqual({ a: 'file:body', 'd/large': `file:${large}`, [byteName('é\n')]: 'file:' });
    expect(await store.contentOf(owner, 'k')).toBe(content);
    expect(await store.open(owner, 'other')).toBe(null);
  });

  it('give blocks that stay as they are while the next ones come, packed or not', async () => {
    const [packed, noise] = [Buffer.alloc(3 << 20, 7), randomBytes(3 << 20)];
    await keep('k', { packed, noise, again: packed, noise2: noise }, { effort: 'least' });
    const found = (await store.open(owner, 'k')) as OpenCache;
    const chunks: Buffer[] = [];
    for await (const chunk of found.tar()) chunks.push(chunk as Buffer);
    await found.close();
    const came: Record<string, boolean> = {};
    for await (const { name, body } of readTar(Readable.from(chunks)))
      came[name] = (await wholeBody(body)).equals(name.startsWith('noise') ? noise : packed);
    expect(came).toEqual({ packed: true, noise: true, again: true, noise2: true });
  });

  it("are one project's, of one kind of machine", async () => {
    await keep('k', { a: '1' });
    for (const other of [
      { ...owner, projectId: 2 },
      { ...owner, instance: 'j' },
      { ...owner, executor: 'docker' },
      { ...owner, architecture: 'arm64' },
    ])
      expect(await store.open(other, 'k')).toBe(null);
    // No key is a path: not even one that nobody made harmless.
    await keep('../../../etc/passwd', { a: '2' });
    expect(readdirSync(home)).toEqual(['caches']);
    expect(readdirSync(join(home, 'caches')).sort().at(-1)).toBe('incoming');
    expect(await filesOf(await store.open(owner, '../../../etc/passwd'))).toEqual({ a: 'file:2' });
  });

  it('are not believed when a byte of them is another one, or missing', async () => {
    const path = store.fileOf(owner, 'k');
    const damage = async (change: (bytes: Buffer) => Buffer): Promise<void> => {
      await keep('k', { a: 'body', large });
      writeFileSync(path, change(readFileSync(path)));
      await expect(store.open(owner, 'k')).rejects.toMatchObject({ name: 'CacheDamaged' });
      // It is gone, so that the next job keeps a new one.
      expect(await store.open(owner, 'k')).toBe(null);
    };
    const size = await keep('k', { a: 'body', large }).then(() => readFileSync(path).length);
    for (const at of [0, 20, 300, size >> 1, size - 40, size - 5])
      await damage((bytes) => {
        bytes[at] = (bytes[at] as number) ^ 1;
        return bytes;
      });
    for (const length of [0, 3, 40, size >> 1, size - 1]) await damage((bytes) => bytes.subarray(0, length));
    await damage((bytes) => Buffer.concat([bytes, Buffer.from('more')]));
  });

  it('are never read through a link', async () => {
    await keep('k', { a: '1' });
    const path = store.fileOf(owner, 'k');
    const elsewhere = join(home, 'elsewhere');
    writeFileSync(elsewhere, readFileSync(path));
    rmSync(path);
    symlinkSync(elsewhere, path);
    await expect(store.open(owner, 'k')).rejects.toThrow();
  });

  it('a reader goes on with what it has opened while another one is kept', async () => {
    await keep('k', { a: 'old', large });
    const found = await store.open(owner, 'k');
    await keep('k', { a: 'new' });
    expect((await filesOf(found)).a).toBe('file:old');
    expect((await filesOf(await store.open(owner, 'k'))).a).toBe('file:new');
  });

  it('what an agent that was killed left on the way is removed by the next one', async () => {
    await keep('k', { a: '1' });
    const half = await store.spool();
    writeFileSync(half, 'half');
    store = storeOf();
    await store.start();
    store.stop();
    expect(readdirSync(join(home, 'caches'))).not.toContain('incoming');
    expect(await store.contentOf(owner, 'k')).not.toBe(null);
  });

  it('go when there are more than the owner wants, the longest unused first, and when unused for long', async () => {
    store = storeOf(6500);
    const body = (seed: number): Buffer =>
      Buffer.from(Array.from({ length: 900 }, (_, index) => (index * seed * 31) & 255));
    for (const [index, key] of ['a', 'b', 'c'].entries()) {
      now += 1000;
      await keep(key, { x: body(index + 1) }, { method: 'stored' });
    }
    expect(await store.contentOf(owner, 'a')).toBe(null);
    now += 1000;
    await store.used(owner, 'b');
    // So it is `c` that goes.
    now += 1000;
    await keep('d', { x: body(9) }, { method: 'stored' });
    expect((await store.list()).map(({ key }) => key)).toEqual(['d', 'b']);
    expect(said.join('\n')).toMatch(/removed 1 caches of jobs, 2.*KiB/);
    const old = new Date(now - 31 * 86_400_000);
    utimesSync(store.fileOf(owner, 'b'), old, old);
    await store.thin();
    expect((await store.list()).map(({ key }) => key)).toEqual(['d']);
    expect(await store.giveBack(1)).toBeGreaterThan(2000);
    expect(await store.list()).toEqual([]);
  });

  it('are cleared by project, and a damaged one with all', async () => {
    await keep('k', { a: '1' });
    await keep('k', { a: '1' }, { of: { ...owner, projectId: 2 }, project: 'lab/Two' });
    await keep('l', { a: '1' });
    truncateSync(store.fileOf(owner, 'l'), 10);
    expect(await store.clear('lab/two')).toMatchObject({ count: 1 });
    expect((await store.list()).map(({ project }) => project).sort()).toEqual(['', 'lab/one']);
    // As a person asks for it.
    const requests = new CacheRequests(() => store);
    expect(await requests.caches()).toMatchObject({ count: 2, rows: [{}, {}] });
    await expect(requests.clearCaches('lab/none')).rejects.toMatchObject({ hint: expect.stringContaining('cache') });
    expect(await store.clear(null)).toMatchObject({ count: 2 });
    expect(await requests.clearCaches(null)).toBe('this machine keeps no caches');
    expect(await store.list()).toEqual([]);
  });
});

describe('what is packed into one', () => {
  const written = async (write: (writer: CacheWriter) => void | Promise<void>): Promise<Record<string, string>> => {
    const file = await store.spool();
    const out = new SpoolFile(file);
    try {
      const writer = new CacheWriter(out, head('k'), 1);
      await write(writer);
      writer.end();
    } finally {
      out.close();
    }
    return filesOf(await OpenCache.at(file));
  };

  it('says whether an engine may unpack it as it is', async () => {
    const isPlain = async (write: (writer: CacheWriter) => void): Promise<boolean | undefined> => {
      const file = await store.spool();
      const out = new SpoolFile(file);
      const writer = new CacheWriter(out, head('k'), 1);
      write(writer);
      const { isPlain: said } = writer.end().tail;
      out.close();
      return said;
    };
    const file = (name: string) => (writer: CacheWriter) => writer.small(facts(name), Buffer.from('1'));
    const folder = (name: string) => (writer: CacheWriter) => writer.folder(facts(name));
    const all = (...steps: ((writer: CacheWriter) => void)[]) =>
      isPlain((writer) => {
        for (const step of steps) step(writer);
      });
    expect(await all(file('a'), folder('d'), folder('d/e'), file('d/e/f'))).toBe(true);
    expect(await all(file('d/a'))).toBe(false);
    expect(await all(file('d/a'), folder('d'))).toBe(false);
    expect(await all(folder('d'), file('d/e/f'))).toBe(false);
    expect(await all((writer) => writer.symlink(facts('d/l'), 'x'), folder('d'))).toBe(true);
    expect(await all((writer) => writer.symlink(facts('d/l'), 'x'))).toBe(false);
  });

  it('links come last, and none of them is a folder of another entry', async () => {
    const files = await written((writer) => {
      writer.symlink(facts('etc'), '/etc');
      writer.symlink(facts('soft'), 'a');
      writer.small(facts('a'), Buffer.from('1'));
      expect(writer.again(facts('b'), 'a')).toBe(true);
      expect(writer.again(facts('c'), 'nobody')).toBe(false);
      writer.small(facts('etc/passwd'), Buffer.from('x'));
    });
    expect(Object.entries(files)).toEqual([
      ['a', 'file:1'],
      ['b', 'link:a'],
      ['etc/passwd', 'file:x'],
      ['soft', 'symlink:a'],
    ]);
  });

  it.each(['/etc/x', '../x', 'a/../../x', 'a\0b'])('a name that leads out is none: %j', async (name) => {
    await expect(written((writer) => writer.small(facts(name), Buffer.from('1')))).rejects.toThrow(/leads out/);
  });

  it('a file that is not as long as it says is none', async () => {
    const body = {
      [Symbol.asyncIterator]: async function* () {
        yield Buffer.from('short');
      },
    };
    await expect(written((writer) => writer.file(facts('a'), 9, body))).rejects.toThrow(/changed while/);
  });
});
