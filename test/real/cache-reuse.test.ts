import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { CacheHead } from '../../node/runs/cache/cache-file.ts';
import { type CacheOwner, CacheStore } from '../../node/runs/cache/cache-store.ts';
import { CacheWriter, type WrittenCache } from '../../node/runs/cache/cache-writer.ts';
import type { Effort } from '../../node/runs/cache/deflate-block.ts';
import type { EarlierFile } from '../../node/runs/cache/packed-blocks.ts';
import { SpoolFile } from '../../node/runs/spool-file.ts';

const top = mkdtempSync(join(tmpdir(), 'autogit-reuse-'));
afterAll(() => rmSync(top, { recursive: true, force: true }));
let count = 0;

type Tree = Map<string, Buffer>;
interface Made extends WrittenCache {
  file: string;
  bytes: Buffer;
}

/** Packs a tree, its names in order as a listing has them. */
function pack(
  tree: Tree,
  { earlier = null as EarlierFile | null, effort = 'least' as Effort, savedAt = 1 } = {},
): Made {
  const file = join(top, `${count++}`);
  const out = new SpoolFile(file);
  const head: CacheHead = {
    key: 'k',
    project: 'lab/one',
    savedAt,
    job: 1,
    ref: 'main',
    node: 'kang',
    method: 'deflate',
  };
  const writer = new CacheWriter(out, head, effort, earlier);
  for (const name of [...tree.keys()].sort()) writer.small({ name, mode: 0o644, mtime: 1 }, tree.get(name) as Buffer);
  const written = writer.end();
  writer.close();
  out.close();
  return { ...written, file, bytes: readFileSync(file) };
}
const from = ({ file, blocks }: Made, isOwn = true): EarlierFile => ({ file, isOwn, blocks: blocks! });

describe('a cache that is kept again', () => {
  const tree: Tree = new Map(
    Array.from({ length: 400 }, (_, index) => [
      `d/${String(index).padStart(3, '0')}`,
      Buffer.from(randomBytes(15_000).toString(index % 2 ? 'hex' : 'base64')),
    ]),
  );
  const first = pack(tree);

  it('is the same to the byte as one that is packed anew, with the blocks that are as before', () => {
    const changed = new Map(tree).set('d/200', Buffer.from(randomBytes(11_250).toString('base64')));
    const again = pack(changed, { earlier: from(first), savedAt: 2 });
    expect(again.bytes.equals(pack(changed, { savedAt: 2 }).bytes)).toBe(true);
    expect(again.reusedBytes).toBeGreaterThan(first.bytes.length * 0.7);
    expect(again.reusedBytes).toBeLessThan(again.bytes.length);
    // And from that one on.
    const third = pack(tree, { earlier: from(again), savedAt: 3 });
    expect(third.bytes.equals(pack(tree, { savedAt: 3 }).bytes)).toBe(true);
    expect(third.reusedBytes).toBeGreaterThan(first.bytes.length * 0.7);
  });

  it('finds its blocks again behind a file that came, and behind one that went', () => {
    const more = new Map(tree).set('d/050a', randomBytes(5000));
    more.delete('d/300');
    const again = pack(more, { earlier: from(first) });
    expect(again.bytes.equals(pack(more).bytes)).toBe(true);
    expect(again.reusedBytes).toBeGreaterThan(first.bytes.length * 0.5);
  });

  it('is not written at all where nothing has changed, but where it is kept under another key', () => {
    const same = pack(tree, { earlier: from(first), savedAt: 2 });
    expect(same.blocks).toBe(null);
    expect(same.tail).toEqual(first.tail);
    expect(same.bytes.length).toBeLessThan(1000);
    const other = pack(tree, { earlier: from(first, false), savedAt: 2 });
    expect(other.bytes.equals(pack(tree, { savedAt: 2 }).bytes)).toBe(true);
    // All of its blocks and more, or less of them, is another tree.
    const less = new Map([...tree].slice(0, 390));
    expect(pack(less, { earlier: from(first) }).bytes.equals(pack(less).bytes)).toBe(true);
    const more = new Map(tree).set('e', randomBytes(10));
    expect(pack(more, { earlier: from(first) }).bytes.equals(pack(more).bytes)).toBe(true);
  });

  it('takes nothing of a file that is gone, cut off, another one, or packed in another way', () => {
    const changed = new Map(tree).set('d/399', Buffer.from('x'));
    const expected = pack(changed).bytes;
    const isAnew = ({ reusedBytes, bytes }: Made): void =>
      expect([reusedBytes, bytes.equals(expected)]).toEqual([0, true]);
    const cut = { ...first, file: join(top, 'cut') };
    writeFileSync(cut.file, first.bytes.subarray(0, 5000));
    isAnew(pack(changed, { earlier: from(cut) }));
    rmSync(cut.file);
    isAnew(pack(changed, { earlier: from(cut) }));
    const other = { ...first, file: pack(changed).file };
    isAnew(pack(changed, { earlier: from(other) }));
    expect(pack(changed, { earlier: from(first), effort: 5 }).reusedBytes).toBe(0);
  });

  it('packs anew what the disk has changed since, and is written whole where all else is as before', () => {
    const changed = new Map(tree).set('d/399', Buffer.from('x'));
    const damaged = { ...first, file: join(top, 'damaged') };
    // In its head, the head of a block, blocks, and its tail.
    const middle = first.bytes.length >> 1;
    for (const at of [20, 100, 500, middle, first.bytes.length - 1500, first.bytes.length - 40]) {
      const bytes = Buffer.from(first.bytes);
      bytes[at] = (bytes[at] as number) ^ 1;
      writeFileSync(damaged.file, bytes);
      const again = pack(changed, { earlier: from(damaged), savedAt: 2 });
      expect(again.bytes.equals(pack(changed, { savedAt: 2 }).bytes)).toBe(true);
      expect(again.reusedBytes).toBeGreaterThan(0);
      const same = pack(tree, { earlier: from(damaged), savedAt: 2 });
      expect(same.blocks).not.toBe(null);
      expect(same.bytes.equals(pack(tree, { savedAt: 2 }).bytes)).toBe(true);
    }
  });

  it('is known by the store that has kept it, until another one comes, and within a limit', async () => {
    const home = mkdtempSync(join(top, 'home-'));
    const store = new CacheStore({ home, log: { info: () => undefined, warn: () => undefined }, wallMs: () => 1e12 });
    const owner: CacheOwner = { instance: 'i', projectId: 1, executor: 'docker', architecture: 'amd64' };
    const spooled = async (bytes: Buffer): Promise<string> => {
      const file = await store.spool();
      writeFileSync(file, bytes);
      return file;
    };
    expect(store.blocksOf(owner, 'k')).toBe(null);
    await store.keep(owner, 'k', await spooled(first.bytes), first.blocks);
    expect(store.blocksOf(owner, 'k')).toEqual({ file: store.fileOf(owner, 'k'), blocks: first.blocks });
    // As one of another machine comes: what its blocks hold, that one alone says.
    await store.keep(owner, 'k', await spooled(first.bytes));
    expect(store.blocksOf(owner, 'k')).toBe(null);
    const large = { ...first.blocks!, records: new Uint8Array(420_000) };
    for (const key of ['a', 'b', 'c']) await store.keep(owner, key, await spooled(first.bytes), large);
    expect(['a', 'b', 'c'].map((key) => store.blocksOf(owner, key) !== null)).toEqual([false, true, true]);
  });
});
