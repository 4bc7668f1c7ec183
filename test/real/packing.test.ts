import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { deflateRawSync, gunzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { openPromise } from 'yauzl';
import { JobArtifact } from '../../gitlab-bridge/payload.ts';
import { madeEntry, writeTar } from '../../node/executors/tar-format.ts';
import type { TreeRead, Workspace } from '../../node/ports.ts';
import { packArtifact } from '../../node/runs/artifact-pack.ts';
import { collectArtifact } from '../../node/runs/artifact-up.ts';
import { packAside } from '../../node/runs/packing.ts';

const folder = mkdtempSync(join(tmpdir(), 't-files-pack-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const request = {
  paths: ['**'],
  exclude: [],
  format: 'zip',
  projectDir: '/p',
  file: join(folder, 'packed'),
  limitBytes: 1 << 30,
} as const;
const asked = (more: object) => ({ ...request, paths: [...request.paths], exclude: [], ...more });
const read = (bytes: AsyncIterable<Uint8Array>, close = (): void => undefined): TreeRead => ({
  bytes,
  complaint: async () => '',
  close,
});

/** A tree in memory: what listing and reading it give, in chunks as a pipe has them. */
async function treeOf(files: Map<string, Buffer>, chunkBytes = 65_536) {
  const parts: Uint8Array[] = [];
  for await (const part of writeTar([...files].map(([name, content]) => madeEntry(name, { content }))))
    parts.push(part);
  const chunks = (bytes: Buffer) =>
    async function* () {
      for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
    };
  const names = chunks(Buffer.from([...files.keys()].map((name) => `${name}\0`).join('')));
  const tar = chunks(Buffer.concat(parts));
  return { list: async () => read(names()), read: async () => read(tar()) };
}

async function unzipped(file: string): Promise<Map<string, Buffer>> {
  const found = new Map<string, Buffer>();
  const zip = await openPromise(file, { autoClose: false, lazyEntries: true });
  for await (const entry of zip.eachEntry())
    found.set(entry.fileName, await buffer(await zip.openReadStreamPromise(entry)));
  zip.close();
  return found;
}

describe('a report', () => {
  const { signal } = new AbortController();
  const of = async (files: Record<string, string>, more: object) => {
    const source = await treeOf(new Map(Object.entries(files).map(([name, text]) => [name, Buffer.from(text)])));
    const workspace = { projectDir: '/p', listFiles: source.list, readFiles: source.read } as unknown as Workspace;
    const artifact = JobArtifact.parse({ paths: ['*'], ...more });
    return collectArtifact(workspace, artifact, request.file, { limitBytes: 1 << 30, signal });
  };

  it('goes up as whatever it is to GitLab, in its format; as raw it is one file, as with gitlab-runner', async () => {
    for (const artifact_type of ['sast', 'dotenv', 'coverage_report', 'cyclonedx', 'metrics', 'a_newer_one']) {
      const { upload } = await of({ 'a.json': '{}' }, { artifact_type, artifact_format: 'raw', name: 'gl.json' });
      expect(upload).toMatchObject({ type: artifact_type, format: 'raw', filename: 'gl.json', lengthBytes: 2 });
      expect(readFileSync(request.file, 'utf8')).toBe('{}');
    }
    const two = { 'a.env': 'A=1\n', 'b.env': 'B=2\n' };
    const { upload } = await of(two, { artifact_type: 'dotenv', artifact_format: 'gzip' });
    expect(upload).toMatchObject({ type: 'dotenv', format: 'gzip', filename: 'dotenv.gz' });
    expect(gunzipSync(readFileSync(request.file)).toString()).toBe('A=1\nB=2\n');
    await expect(of(two, { artifact_type: 'sast', artifact_format: 'raw' })).rejects.toThrow(
      'only one file can be sent as raw',
    );
  });
});

describe('many small files', () => {
  const files = new Map(
    Array.from({ length: 10_000 }, (_, index) => [
      `d${index % 100}/${index}`,
      Buffer.from(Array.from({ length: 6 + (index % 5) }, (_, line) => `${line * index} of the ${index}`).join('\n')),
    ]),
  );

  it('cost little beside deflating them, and are packed as well', async () => {
    const source = await treeOf(files);
    let bestPack = Number.POSITIVE_INFINITY;
    let bestDeflate = Number.POSITIVE_INFINITY;
    let deflated = 0;
    let packed = { count: 0, sizeBytes: 0 };
    for (let round = 0; round < 3; round++) {
      const cpu = process.cpuUsage();
      packed = await packArtifact(source, asked({}));
      const middle = process.cpuUsage(cpu);
      bestPack = Math.min(bestPack, middle.user + middle.system);
      deflated = 0;
      for (const content of files.values()) deflated += deflateRawSync(content).length;
      const whole = process.cpuUsage(cpu);
      bestDeflate = Math.min(bestDeflate, whole.user + whole.system - middle.user - middle.system);
    }
    expect(packed.count).toBe(files.size);
    const names = [...files.keys()].reduce((sum, name) => sum + name.length, 0);
    expect(packed.sizeBytes).toBeLessThan(deflated * 1.01 + 2 * names + files.size * (30 + 46 + 18) + 22);
    // With promises, streams and buffers of its own for each file it was three times as much.
    expect(bestPack / bestDeflate).toBeLessThan(2.8);
  });
});

describe('memory that is used again', () => {
  /** In one memory, which has other bytes in it as soon as the next chunk is asked for. */
  async function* kept(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    const memory = Buffer.alloc(1 << 20);
    for await (const chunk of chunks) {
      memory.set(chunk);
      yield memory.subarray(0, chunk.length);
      memory.fill(0xa5);
    }
  }
  const text = (bytes: number) => Buffer.from(randomBytes(bytes / 2).toString('hex'));
  const files = new Map([
    ['empty', Buffer.alloc(0)],
    ['few', Buffer.from('few bytes')],
    [`${'long/'.repeat(40)}name`, text(700)],
    ...Array.from({ length: 40 }, (_, index) => [`small/${index}`, text(2 * index * 700)] as const),
    ['middle', text(250_000)],
    ['packed', text(3_000_000)],
    ['stored', randomBytes(3_000_001)],
    [
      'both',
      Buffer.concat(Array.from({ length: 6 }, (_, index) => (index % 2 ? text(1 << 20) : randomBytes(1 << 20)))),
    ],
  ]);
  const head = { key: 'k', method: 'deflate', savedAt: 1, job: 1, node: 'n', project: 'p', ref: 'r' } as const;

  it.each([
    ['zip', {}],
    ['gzip', {}],
    ['raw', { paths: ['both'] }],
    ['cache', { cache: { head, level: 'least' } }],
  ] as const)('is in nothing that is packed: %s, here and in a thread', async (format, more) => {
    const want = asked({ format, ...more, paths: [...('paths' in more ? more.paths : ['**'])] });
    for (const chunkBytes of [65_536, 4097, 1 << 20]) {
      const plain = await treeOf(files, chunkBytes);
      await packArtifact(plain, want);
      const expected = readFileSync(request.file);
      const borrowed = async () => {
        const { list, read: bytes } = await treeOf(files, chunkBytes);
        return {
          list: async () => read(kept((await list()).bytes)),
          read: async () => read(kept((await bytes()).bytes)),
        };
      };
      await packArtifact(await borrowed(), want);
      expect(readFileSync(request.file).equals(expected)).toBe(true);
      // There chunks have another length, and where a file is looked at another place.
      await packAside(await borrowed(), want, new AbortController().signal);
      const aside = readFileSync(request.file);
      if (format === 'zip') {
        const found = await unzipped(request.file);
        // Whole buffers are compared by themselves: to tell how two of MiBs differ takes minutes.
        const others = [...files].filter(([name, content]) => !found.get(name)?.equals(content));
        expect([found.size, others.map(([name]) => name)]).toEqual([files.size, []]);
      } else if (format === 'gzip') expect(gunzipSync(aside).equals(gunzipSync(expected))).toBe(true);
      else expect(aside.equals(expected)).toBe(true);
    }
  });

  it('is all that a tree of any size takes here, however much of it goes to the thread', async () => {
    const size = 192 << 20;
    const names = async () => read(Readable.from([Buffer.from('big\0')]));
    async function* tar(): AsyncGenerator<Uint8Array> {
      const zeros = Buffer.alloc(1 << 20);
      async function* body(): AsyncGenerator<Uint8Array> {
        for (let at = 0; at < size; at += zeros.length) yield zeros;
      }
      yield* writeTar([{ ...madeEntry('big', { content: '' }), size, body: body() }]);
    }
    const before = process.memoryUsage().arrayBuffers;
    let most = 0;
    const watch = setInterval(() => {
      most = Math.max(most, process.memoryUsage().arrayBuffers - before);
    }, 2);
    const source = { list: names, read: async () => read(tar()) };
    await packAside(source, asked({ format: 'raw' }), new AbortController().signal).finally(() => clearInterval(watch));
    expect(statSync(request.file).size).toBe(size);
    expect(most).toBeGreaterThan(0);
    // In chunks with memory of their own V8 lets 32 MiB lie.
    expect(most).toBeLessThan(8 << 20);
  });
});

it('names stand in the zip as the bytes that they are (official-runner F22)', async () => {
  // A byte that is no UTF-8, a backslash, a line's end, letters that are UTF-8, 240 of them.
  const names = ['lat\xe9n', 'back\\slash', 'new\nline', 'gr\xc3\xb6\xc3\x9fe', '\xc3\xa4'.repeat(120)];
  const entries = () => names.map((name) => ({ ...madeEntry('', { content: name }), name }));
  const source = {
    list: async () => read(Readable.from([Buffer.from(names.map((name) => `${name}\0`).join(''), 'latin1')])),
    read: async () => read(writeTar(entries())),
  };
  expect((await packArtifact(source, asked({}))).count).toBe(names.length);
  const zip = await openPromise(request.file, { autoClose: false, lazyEntries: true, decodeStrings: false });
  const found: [string, boolean][] = [];
  for await (const { fileNameRaw, generalPurposeBitFlag } of zip.eachEntry())
    found.push([fileNameRaw.toString('latin1'), (generalPurposeBitFlag & 0x800) !== 0]);
  zip.close();
  // The flag says that it is UTF-8: a reader would change other bytes by it.
  expect(found).toEqual(names.map((name) => [name, /\xc3/.test(name)]));
});

it('a hard link to a large file that is no artifact itself has its bytes', async () => {
  const content = randomBytes(3 << 20);
  const whole = await treeOf(new Map([['other', content]]));
  const entries = [madeEntry('artifact', { kind: 'link', linkname: 'other' })];
  const source = {
    list: async () => read(Readable.from([Buffer.from('artifact\0other\0')])),
    read: async (names: Uint8Array) => (Buffer.from(names).includes('other') ? whole.read() : read(writeTar(entries))),
  };
  const packed = await packArtifact(source, asked({ paths: ['artifact'], format: 'gzip' }));
  expect(packed.count).toBe(1);
  expect(gunzipSync(readFileSync(request.file)).equals(content)).toBe(true);
});

describe('packing beside the event loop', () => {
  it('hostile patterns on many names take no turn of it (security A2)', async () => {
    const name = `${'a'.repeat(250)}/`.repeat(15);
    const names = Buffer.from(Array.from({ length: 1000 }, (_, index) => `${name}${index}\0`).join(''));
    async function* bytes(): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < names.length; at += 65_536) yield names.subarray(at, at + 65_536);
    }
    const paths = Array.from({ length: 20 }, (_, index) => `**/${'*a'.repeat(30)}*${index}b`);
    const cpu = process.cpuUsage();
    const began = performance.eventLoopUtilization();
    const source = { list: async () => read(bytes()), read: async () => read(bytes()) };
    const packed = await packAside(source, asked({ paths }), new AbortController().signal);
    const used = performance.eventLoopUtilization(began);
    const { user } = process.cpuUsage(cpu);
    expect(packed.count).toBe(0);
    // The work was there (a core's worth), and not in this thread.
    expect(user).toBeGreaterThan(400_000);
    expect(used.active).toBeLessThan(user / 1000 / 2);
  });

  it('ends at once when the signal says so, also in a stream that gives nothing', async () => {
    const stop = new AbortController();
    let isClosed = false;
    async function* stuck(): AsyncGenerator<Uint8Array> {
      await sleep(60_000);
      yield Buffer.alloc(1);
    }
    const source = {
      list: async () =>
        read(stuck(), () => {
          isClosed = true;
        }),
      read: async () => read(stuck()),
    };
    const packing = packAside(source, asked({}), stop.signal);
    setTimeout(() => stop.abort(new Error('the job was cancelled')), 200);
    const began = performance.now();
    await expect(packing).rejects.toThrow('the job was cancelled');
    expect(performance.now() - began).toBeLessThan(20_000);
    await expect.poll(() => isClosed, { timeout: 20_000 }).toBe(true);
  });

  it("an error of the source is the packing's, with its words", async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('a\0');
      throw new Error('the engine went away');
    }
    const source = { list: async () => read(broken()), read: async () => read(broken()) };
    await expect(packAside(source, asked({}), new AbortController().signal)).rejects.toThrow('the engine went away');
    const tar = writeTar([madeEntry('a', { content: 'A' })]);
    const good = {
      list: async () =>
        read(
          (async function* () {
            yield Buffer.from('a\0');
          })(),
        ),
      read: async () => read(tar),
    };
    expect(await packAside(good, asked({}), new AbortController().signal)).toMatchObject({ count: 1 });
  });
});
