import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { byteName, shownName, textOf } from '../../node/executors/byte-names.ts';
import { madeEntry, readTar, type TarEntry, TarProblem, writeTar } from '../../node/executors/tar-format.ts';
import { renameTar } from '../../node/executors/tar-names.ts';

const joined = async (chunks: AsyncIterable<Uint8Array>): Promise<Buffer> => {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
};
/** In pieces of odd sizes, as a socket gives them. */
async function* pieces(bytes: Buffer, size = 700): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
const listed = async (source: AsyncIterable<Uint8Array>): Promise<string[]> => {
  const lines: string[] = [];
  for await (const entry of readTar(source)) {
    const body = entry.kind === 'file' ? (await joined(entry.body)).toString() : '';
    lines.push([entry.kind, entry.name, entry.mode.toString(8), entry.linkname, body].join('|'));
  }
  return lines;
};

const latin = 'lat\xe9n';
const long = `${'d'.repeat(200)}/${'\xff'.repeat(240)}`;
const entries = (): TarEntry[] => [
  { ...madeEntry('', { mode: 0o755 }), name: 'dir' },
  { ...madeEntry('', { content: 'one' }), name: latin },
  { ...madeEntry('', { content: '', mode: 0 }), name: `-a\\b\nc${latin}` },
  { ...madeEntry('', { content: 'x'.repeat(513) }), name: long },
  { ...madeEntry('', { kind: 'symlink', mode: 0o777 }), name: 'link', linkname: long },
  { ...madeEntry('', { kind: 'link' }), name: 'hard', linkname: latin },
];
const expected = [
  'folder|dir/|755||',
  `file|${latin}|644||one`,
  `file|-a\\b\nc${latin}|0||`,
  `file|${long}|644||${'x'.repeat(513)}`,
  `symlink|link|777|${long}|`,
  `link|hard|644|${latin}|`,
];

describe('tar', () => {
  it('keeps names and link targets of any bytes, and GNU tar reads the same', async () => {
    const tar = await joined(writeTar(entries()));
    for (const size of [1 << 20, 512, 700, 13]) expect(await listed(pieces(tar, size))).toEqual(expected);
    const names = execFileSync('tar', ['-t', '--null', '--quoting-style=literal', '-f', '-'], { input: tar });
    expect(names.toString('latin1').split('\n').filter(Boolean).join('\n')).toBe(
      ['dir/', latin, `-a\\b\nc${latin}`, long, 'link', 'hard'].join('\n'),
    );
  });

  it('gives a small file whole where all of it is at hand, and is the same tar where it is not', async () => {
    const tar = await joined(
      writeTar([madeEntry('a', { content: 'one' }), madeEntry('b', { content: 'x'.repeat(700) })]),
    );
    const wholes: (string | undefined)[] = [];
    for await (const entry of readTar(pieces(tar, 1 << 20)))
      wholes.push(entry.whole && Buffer.from(entry.whole).toString());
    expect(wholes).toEqual(['one', 'x'.repeat(700)]);
    for (const size of [1 << 20, 1600, 513, 7])
      expect(await listed(pieces(tar, size))).toEqual(['file|a|644||one', `file|b|644||${'x'.repeat(700)}`]);
  });

  it.each(['gnu', 'ustar', 'pax'])('reads what GNU tar writes as %s, several in a row too', async (format) => {
    const script = `d=$(mktemp -d); cd "$d"; mkdir -p ${'p'.repeat(90)}; cd ${'p'.repeat(90)}; printf hi >${'n'.repeat(60)}; ln ${'n'.repeat(60)} $(printf 'h\\351'); cd ..; tar -c --format=${format} -f - *; tar -c --format=${format} -f - *; rm -r "$d"`;
    const lines = await listed(pieces(execFileSync('bash', ['--norc', '-c', script])));
    expect(lines.map((line) => line.split('|').slice(0, 2).join(' '))).toEqual(
      [1, 2].flatMap(() => [
        `folder ${'p'.repeat(90)}/`,
        `${lines[1]?.startsWith('file') ? 'file' : 'link'} ${lines[1]?.split('|')[1]}`,
        `${lines[2]?.startsWith('file') ? 'file' : 'link'} ${lines[2]?.split('|')[1]}`,
      ]),
    );
    expect(lines.filter((line) => line.startsWith('file') && line.endsWith('|hi'))).toHaveLength(2);
    expect(lines.filter((line) => line.startsWith('link'))).toHaveLength(2);
  });

  it('sizes beyond 8 GiB and modes survive', async () => {
    const big = { ...madeEntry('big', { content: 'x', mode: 0o664 }), size: 3 * 2 ** 40 };
    const head = (await writeTar([big]).next()).value as Uint8Array;
    const found = await readTar(pieces(Buffer.concat([head]))).next();
    expect(found.value).toMatchObject({ size: 3 * 2 ** 40, mode: 0o664 });
  });

  it('a source that breaks or ends between two files is an error, in every hand that it goes through', async () => {
    const tar = await joined(writeTar([madeEntry('a', { content: 'a' }), madeEntry('b', { content: 'b' })]));
    await expect(listed(pieces(tar.subarray(0, 1024)))).rejects.toThrow(/ended early/);
    await expect(listed(pieces(tar.subarray(0, 1100)))).rejects.toThrow(/ended early/);
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield tar.subarray(0, 1024);
      throw new Error('EACCES: what the source said');
    }
    await expect(joined(renameTar(broken(), (name) => name, { uid: 0, gid: 0, owned: '' }))).rejects.toThrow(
      /what the source said/,
    );
    const grown = { ...madeEntry('a', { content: 'abc' }), size: 2 };
    await expect(joined(writeTar([grown]))).rejects.toThrow(TarProblem);
  });

  it('names as text: UTF-8 where they are, else a mark a byte', () => {
    expect(textOf(byteName('漢é\u{1F600}'))).toBe('漢é\u{1F600}');
    expect(textOf(`${byteName('é')}\xe9n`)).toBe('é\udce9n');
    expect(shownName(`a\nb\xe9${byteName('漢')}`)).toBe('a\\x0ab\\xe9漢');
  });
});
