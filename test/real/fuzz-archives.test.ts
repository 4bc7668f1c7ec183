import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateRawSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { openPromise } from 'yauzl';
import { madeEntry, readTar, writeTar } from '../../node/executors/tar-format.ts';
import { renameTar } from '../../node/executors/tar-names.ts';
import { zipToTar } from '../../node/runs/artifact-down.ts';
import { type FileSource, packArtifact } from '../../node/runs/artifact-pack.ts';
import { SpoolFile } from '../../node/runs/spool-file.ts';
import { ZipWriter } from '../../node/runs/zip-writer.ts';
import type { Chance } from '../sim/chance.ts';
import { fuzzRounds, fuzzTimeoutMs, least } from './fuzz-rounds.ts';

/** What comes from a job or from GitLab may be anything: an answer or an error of ours, soon, and in little memory. */
const folder = mkdtempSync(join(tmpdir(), 't-files-fuzz-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const joined = async (chunks: AsyncIterable<unknown>): Promise<Buffer> => {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk as Uint8Array);
  return Buffer.concat(all);
};
const nameOf = (chance: Chance): string =>
  Array.from({ length: 1 + chance.below(20) }, () =>
    String.fromCharCode(chance.maybe(0.2) ? 47 : 1 + chance.below(255)),
  ).join('');

/** Flips, cuts, repeats and drops bytes. */
function damaged(bytes: Buffer, chance: Chance): Buffer {
  const copy = Buffer.from(bytes);
  for (let count = chance.below(4); count >= 0; count--) {
    const at = chance.below(copy.length);
    if (chance.maybe(0.5)) copy[at] = chance.below(256);
    else copy.writeUIntLE(chance.below(2 ** 24) * 2 ** 24, Math.max(0, Math.min(at, copy.length - 6)), 6);
  }
  const cut = chance.below(5);
  if (cut === 0) return copy.subarray(0, chance.below(copy.length));
  if (cut === 1) return Buffer.concat([copy, copy.subarray(chance.below(copy.length))]);
  return copy;
}

async function tarOfChance(chance: Chance): Promise<Buffer> {
  const kinds = ['file', 'folder', 'symlink', 'link', 'fifo', 'device'] as const;
  const entries = Array.from({ length: 1 + chance.below(4) }, () => ({
    ...madeEntry('', { content: 'x'.repeat(chance.below(1500)), mode: chance.below(0o10000) }),
    kind: kinds[chance.below(kinds.length)] ?? 'file',
    name: nameOf(chance).repeat(1 + chance.below(12)),
    linkname: nameOf(chance),
  }));
  return joined(writeTar(entries));
}

async function zipOfChance(chance: Chance, file: string): Promise<void> {
  const out = new SpoolFile(file);
  const zip = new ZipWriter(out);
  for (let count = chance.below(5); count >= 0; count--) {
    const facts = { name: nameOf(chance), mode: chance.below(0o1000), mtime: chance.below(2 ** 31) };
    const draw = chance.below(4);
    if (draw === 0) await zip.folder(facts);
    else if (draw === 1) await zip.symlink(facts, nameOf(chance));
    else
      await zip.file(
        facts,
        9,
        (async function* () {
          yield Buffer.alloc(chance.below(3000), 'ab');
        })(),
      );
  }
  await zip.end();
  await out.close();
}

const ours = /TarProblem|PackProblem/;

describe('fuzz', () => {
  it(
    'tar entries: read, renamed, packed',
    async () => {
      let errors = 0;
      let good = 0;
      await fuzzRounds('tar entries', 10, async (chance, seed) => {
        const whole = await tarOfChance(chance);
        const bytes = seed % 5 === 0 ? whole : damaged(whole, chance);
        const source = async function* (): AsyncGenerator<Uint8Array> {
          for (let at = 0; at < bytes.length; ) {
            const size = 1 + chance.below(2000);
            yield bytes.subarray(at, at + size);
            at += size;
          }
        };
        try {
          await joined(
            renameTar(source(), (name) => (chance.maybe(0.2) ? null : `in/${name}`), { uid: 0, gid: 0, owned: '' }),
          );
          const names = Buffer.from('a\0b/c\0', 'latin1');
          const read = { complaint: async () => '', close: () => undefined };
          const files: FileSource = {
            list: async () => ({
              ...read,
              bytes: chance.maybe(0.5)
                ? (async function* () {
                    yield names;
                  })()
                : source(),
            }),
            read: async () => ({ ...read, bytes: source() }),
          };
          const request = { paths: ['**'], exclude: [], format: 'zip', projectDir: '/p', limitBytes: 1 << 20 } as const;
          await packArtifact(files, { ...request, paths: ['**'], exclude: [], file: join(folder, 'packed') });
          good++;
        } catch (error) {
          if (!ours.test((error as Error).name)) throw error;
          errors++;
        }
      });
      expect(good).toBeGreaterThanOrEqual(least(20));
      expect(errors).toBeGreaterThanOrEqual(least(20));
    },
    fuzzTimeoutMs(10),
  );

  it(
    'zip entries: taken as tar, whatever is in them; nothing leads out of the tree',
    async () => {
      const file = join(folder, 'in.zip');
      let good = 0;
      let errors = 0;
      await fuzzRounds('zip entries', 10, async (chance, seed) => {
        await zipOfChance(chance, file);
        if (seed % 4 !== 0) writeFileSync(file, damaged(readFileSync(file), chance));
        const zip = await openPromise(file, { autoClose: false, lazyEntries: true, decodeStrings: false }).catch(
          () => null,
        );
        if (zip === null) {
          errors++;
          return;
        }
        const names: string[] = [];
        try {
          for await (const entry of readTar(zipToTar(zip))) names.push(entry.name);
          good++;
        } catch (error) {
          expect((error as Error).message).not.toMatch(/undefined|not a function|Cannot read/);
          errors++;
        }
        for (const name of names) {
          expect(name.startsWith('/'), name).toBe(false);
          expect(name.split('/'), name).not.toContain('..');
        }
      });
      expect(good).toBeGreaterThanOrEqual(least(20));
      expect(errors).toBeGreaterThanOrEqual(least(20));
    },
    fuzzTimeoutMs(10),
  );

  it('links of a download come last, and none is a way for what else is in it (security A19)', async () => {
    const file = join(folder, 'links.zip');
    const out = new SpoolFile(file);
    const zip = new ZipWriter(out);
    const facts = (name: string) => ({ name, mode: 0o664, mtime: 1_700_000_000 });
    const body = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.from('some words, some words, some words');
    };
    await zip.symlink(facts('abs'), '/usr/bin/python3');
    await zip.symlink(facts('p'), '/etc');
    await zip.symlink(facts('q/up'), '..');
    await zip.symlink(facts('chain'), 'q/up/..');
    await zip.symlink(facts('chain/deeper'), '/tmp');
    await zip.file(facts('../out'), 34, body());
    await zip.file(facts('.git/hooks/x'), 34, body());
    await zip.file(facts('p/passwd'), 34, body());
    await zip.file(facts('last'), 34, body());
    await zip.end();
    await out.close();
    const open = () => openPromise(file, { autoClose: false, lazyEntries: true, decodeStrings: false });
    const said: string[] = [];
    const found: string[] = [];
    for await (const { kind, name, linkname, mode } of readTar(zipToTar(await open(), (line) => said.push(line))))
      found.push(`${kind} ${name} ${kind === 'file' ? mode.toString(8) : linkname}`);
    expect(found).toEqual([
      'file p/passwd 664',
      'file last 664',
      'symlink abs /usr/bin/python3',
      'symlink q/up ..',
      'symlink chain/deeper /tmp',
    ]);
    expect(said).toEqual([
      "../out: leads out of the project's folder, left out",
      'p: is a link and a folder at once, the link is left out',
      'chain: is a link and a folder at once, the link is left out',
    ]);
    // One byte of what is packed, turned: its sum is looked at.
    const bytes = readFileSync(file);
    const at = bytes.indexOf('last') + 4 + 9 + 3;
    bytes[at] = (bytes[at] as number) ^ 4;
    writeFileSync(file, bytes);
    await expect(joined(zipToTar(await open()))).rejects.toThrow();
  });

  it('the zip is one for others too', async () => {
    const file = join(folder, 'whole.zip');
    const out = new SpoolFile(file);
    const zip = new ZipWriter(out);
    const body = async function* (): AsyncGenerator<Uint8Array> {
      for (let count = 0; count < 40; count++) yield Buffer.alloc(100_000, `line ${count}\n`);
    };
    await zip.folder({ name: 'd', mode: 0o750, mtime: 1_700_000_000 });
    await zip.file({ name: 'd/large', mode: 0o644, mtime: 1_700_000_000 }, 4_000_000, body());
    await zip.file(
      { name: 'd/back\\slash', mode: 0o600, mtime: 0 },
      3,
      (async function* () {
        yield Buffer.from('abc');
      })(),
    );
    expect(await zip.again({ name: 'd/other', mode: 0o644, mtime: 1_700_000_000 }, 'd/large')).toBe(true);
    await zip.end();
    await out.close();
    expect(execFileSync('unzip', ['-t', file], { encoding: 'utf8' })).toContain('No errors detected');
    const other = execFileSync('unzip', ['-p', file, 'd/other'], { maxBuffer: 1 << 24 });
    expect(other.equals(await joined(body()))).toBe(true);
    const listed = execFileSync('unzip', ['-Z', '-l', file], { encoding: 'utf8', env: { ...process.env, TZ: 'UTC' } });
    expect(listed).toMatch(
      /drwxr-x---.*d\/\n-rw-r--r--.* 4000000 .*23-Nov-14 22:13 d\/large\n-rw------- .*back\\slash\n/,
    );
  });

  it('what does not get smaller is not packed for long, and what does is packed wherever it stands', async () => {
    const file = join(folder, 'mixed.zip');
    const random = randomBytes(16 << 20);
    const text = Buffer.alloc(8 << 20, 'a line that is there again and again\n');
    const chunksOf = async function* (bytes: Buffer): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < bytes.length; at += 65_000) yield bytes.subarray(at, at + 65_000);
    };
    const cpuMs = async (work: () => unknown): Promise<number> => {
      const before = process.cpuUsage();
      await work();
      const { user, system } = process.cpuUsage(before);
      return (user + system) / 1000;
    };
    const facts = (name: string) => ({ name, mode: 0o644, mtime: 1_700_000_000 });
    const mixed = Buffer.concat([text, random, text]);
    const out = new SpoolFile(file);
    const zip = new ZipWriter(out);
    const packedMs = await cpuMs(() => deflateRawSync(random));
    const tookMs = await cpuMs(() => zip.file(facts('random'), random.length, chunksOf(random)));
    const before = out.size;
    await zip.file(facts('mixed'), mixed.length, chunksOf(mixed));
    const mixedBytes = out.size - before;
    zip.end();
    out.close();
    expect(tookMs).toBeLessThan(packedMs / 2);
    // Of the text two looks at most are stored.
    expect(mixedBytes).toBeLessThan(random.length + (2 << 20) + (1 << 18));
    expect(execFileSync('unzip', ['-t', file], { encoding: 'utf8' })).toContain('No errors detected');
    for (const [name, bytes] of Object.entries({ random, mixed }))
      expect(execFileSync('unzip', ['-p', file, name], { maxBuffer: 1 << 26 }).equals(bytes), name).toBe(true);
  });
});
