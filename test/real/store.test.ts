import { spawn } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Level } from 'level';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { LocalRun } from '../../node/ports.ts';
import { mintStoreId, openStore } from '../../node/store/level-store.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { Write } from '../../scheduler/effects.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';

let dir: string;
let folder: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'autogit-store-'));
  folder = join(dir, 'home', 'store');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const ledger = (version: number): Ledger => ({
  ...foundedMesh({ node: 'kang' }),
  stamp: { term: 1, version },
});

const run = (name: string): LocalRun => ({
  run: {
    run: name,
    job: 7,
    projectId: 1,
    project: 'lab/vision',
    name: 'eval',
    ref: 'main',
    tags: ['gpu'],
    class: 'gpu',
    grant: 'g1',
    node: 'kang',
    token: 'sealed',
    executor: 'process',
    state: 'running',
    frozen: false,
    takenAt: 1,
    startedAt: 2,
    finishedAt: null,
    result: null,
    gpus: [],
    because: 'it fits',
  },
  payload: '{"id":7}',
  url: 'http://gitlab',
  handle: 'h',
  traceOffset: 12,
  progress: '{"step":1}',
});

const everything: Write[] = [
  { key: 'promise', value: { term: 9, votedFor: 'kang' } },
  { key: 'accepted', value: { ...ledger(5), later: { kept: true } } as Ledger },
  { key: 'committed', value: ledger(4) },
  { key: 'asking', value: [{ grant: 'g', class: 'gpu', runner: 3, wallMs: 1 }] },
];

/** Fills a store, and closes it. */
async function fill(): Promise<string> {
  const store = await openStore(folder);
  for (let i = 0; i < 50; i++) await store.write([{ key: 'promise', value: { term: i, votedFor: null } }]);
  await store.write(everything);
  await store.putRun(run('r1'));
  await store.put('mesh-key', 'ff');
  await store.close();
  return store.id;
}
const levelFile = (end: string): string => {
  const name = readdirSync(join(folder, 'level')).find((file) => file.endsWith(end) || file.startsWith(end));
  if (!name) throw new Error(`no ${end} in ${readdirSync(join(folder, 'level'))}`);
  return join(folder, 'level', name);
};
const damaged = expect.objectContaining({ code: 'store-corrupt', hint: expect.stringContaining(`mv `) });

describe('the store', () => {
  it('gives back everything, unknown fields of the ledger too', async () => {
    const id = await fill();
    const store = await openStore(folder);
    expect(store.id).toBe(id);
    const loaded = await store.load();
    expect(Object.entries(loaded)).toEqual(expect.arrayContaining(everything.map(({ key, value }) => [key, value])));
    expect(await store.runs()).toEqual([run('r1')]);
    expect([await store.get('mesh-key'), await store.get('port')]).toEqual(['ff', null]);
    await store.deleteRun('r1');
    expect(await store.runs()).toEqual([]);
    await store.close();
  });

  it('keeps the id that it goes by since it was rolled back, beside the one it was created with', async () => {
    const store = await openStore(folder);
    const minted = mintStoreId();
    expect(new Set([minted, mintStoreId(), store.id]).size).toBe(3);
    await store.write([{ key: 'store', value: minted }]);
    await store.close();
    const again = await openStore(folder);
    expect([again.id, (await again.load()).store]).toEqual([store.id, minted]);
    await again.close();
  });

  it('begins empty, closed to others, with an id of its own', async () => {
    mkdirSync(folder, { recursive: true });
    chmodSync(folder, 0o755);
    const store = await openStore(folder);
    expect(await store.load()).toEqual({
      promise: { term: 0, votedFor: null },
      accepted: null,
      committed: null,
      asking: [],
      store: null,
    });
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    const other = await openStore(join(dir, 'other'));
    expect(other.id).not.toBe(store.id);
    await Promise.all([store.close(), other.close()]);
  });

  it('sets the disk to work in the turn that asks, before anything else is done in it', async () => {
    let batches = 0;
    const store = await openStore(folder, (location, createIfMissing) => {
      const level = new Level<string, string>(location, { createIfMissing });
      const batch = level.batch.bind(level) as (...all: unknown[]) => never;
      const counted = (...all: unknown[]): never => {
        batches += 1;
        return batch(...all);
      };
      return Object.assign(level, { batch: counted });
    });
    const before = batches;
    const written = store.write(everything);
    expect(batches - before).toBe(1);
    await written;
    await store.close();
  });

  it('takes writes at once from many sides, in order', async () => {
    const store = await openStore(folder);
    const terms = Array.from({ length: 40 }, (_, term) =>
      store.write([{ key: 'promise', value: { term, votedFor: null } }]),
    );
    const runs = Array.from({ length: 40 }, (_, i) => store.putRun(run(`r${i}`)));
    await Promise.all([...terms, ...runs]);
    expect((await store.load()).promise.term).toBe(39);
    expect(await store.runs()).toHaveLength(40);
    await store.close();
    await expect(store.put('x', 'y')).rejects.toMatchObject({ code: 'store-failed' });
  });

  it('is not opened again by writes that come after its end, for good', async () => {
    const store = await openStore(folder);
    await store.put('a', 'b');
    await store.close();
    for (let late = 0; late < 3; late++)
      await expect(store.put('x', 'y')).rejects.toMatchObject({ code: 'store-failed' });
    await expect(store.get('a')).rejects.toThrow();
    const next = await openStore(folder);
    expect([await next.get('a'), await next.get('x')]).toEqual(['b', null]);
    await next.close();
  });

  it('is open once at a time', async () => {
    const store = await openStore(folder);
    await expect(openStore(folder)).rejects.toMatchObject({ code: 'agent-running' });
    await store.close();
    await (await openStore(folder)).close();
  });

  it('keeps what it acknowledged through kill -9', async () => {
    const script = `
      import { openStore } from ${JSON.stringify(new URL('../../node/store/level-store.ts', import.meta.url).pathname)};
      const store = await openStore(${JSON.stringify(folder)});
      for (let term = 1; ; term++) {
        await store.write([{ key: 'promise', value: { term, votedFor: 'kang' } }]);
        process.stdout.write(term + '\\n');
      }`;
    const entry = join(dir, 'writer.mjs');
    writeFileSync(join(dir, 'writer.ts'), script);
    const { build } = await import('esbuild');
    const root = new URL('../..', import.meta.url).pathname;
    await build({
      stdin: { contents: script, resolveDir: root, loader: 'ts' },
      bundle: true,
      platform: 'node',
      format: 'esm',
      outfile: entry,
      external: ['classic-level'],
      logLevel: 'silent',
      banner: {
        js: `import { createRequire } from 'node:module'; const require = createRequire(${JSON.stringify(`${root}package.json`)});`,
      },
    });
    const bundled = readFileSync(entry, 'utf8').replace(
      /from "classic-level"/g,
      `from ${JSON.stringify(`${root}node_modules/classic-level/index.js`)}`,
    );
    writeFileSync(entry, bundled);
    const child = spawn(process.execPath, [entry], { stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    await new Promise<void>((resolve, reject) => {
      child.once('exit', () => reject(new Error(`the writer ended: ${said}`)));
      child.stdout.on('data', (data) => {
        said += data;
        if (said.split('\n').length > 40) {
          child.removeAllListeners('exit');
          child.once('exit', () => resolve());
          child.kill('SIGKILL');
        }
      });
    });
    const acknowledged = Number(said.trim().split('\n').at(-1));
    const store = await openStore(folder);
    expect((await store.load()).promise.term).toBeGreaterThanOrEqual(acknowledged);
    await store.close();
  });
});

describe('a damaged store says so, and is never silently emptied', () => {
  it('a flipped byte in the newest data: at every start, until a person moves it away', async () => {
    await fill();
    const file = levelFile('.log');
    const bytes = readFileSync(file);
    bytes.fill(0x41, 600, 700);
    writeFileSync(file, bytes);
    await expect(openStore(folder)).rejects.toThrow(damaged);
    await expect(openStore(folder)).rejects.toThrow(damaged);
  });

  it.each([100, 2000, 5000])('a log cut off at byte %i, or a length in it changed', async (at) => {
    await fill();
    const file = levelFile('.log');
    const bytes = readFileSync(file);
    expect(bytes.length).toBeGreaterThan(at);
    writeFileSync(file, bytes.subarray(0, at));
    await expect(openStore(folder)).rejects.toThrow(damaged);
    await expect(openStore(folder)).rejects.toThrow(damaged);
  });

  it('a power cut that lost the count alone is no damage', async () => {
    await fill();
    for (const text of ['', '0000000000000003\n']) {
      writeFileSync(join(folder, 'count'), text);
      const store = await openStore(folder);
      expect((await store.load()).promise.term).toBe(9);
      await store.close();
    }
    unlinkSync(join(folder, 'count'));
    await (await openStore(folder)).close();
    writeFileSync(join(folder, 'count'), 'x');
    await expect(openStore(folder)).rejects.toThrow(damaged);
  });

  it.each(['CURRENT', 'MANIFEST'])('%s overwritten', async (name) => {
    await fill();
    writeFileSync(levelFile(name), 'garbage');
    await expect(openStore(folder)).rejects.toThrow(damaged);
  });

  it.each(['CURRENT', 'MANIFEST'])('%s gone', async (name) => {
    await fill();
    unlinkSync(levelFile(name));
    await expect(openStore(folder)).rejects.toThrow(damaged);
  });

  it('all of level gone: it is not taken for a new store', async () => {
    await fill();
    rmSync(join(folder, 'level'), { recursive: true });
    await expect(openStore(folder)).rejects.toThrow(damaged);
  });

  it('the files of another store: it is not taken for this one', async () => {
    await fill();
    writeFileSync(join(folder, 'id'), '2b1f6f1e-54c1-4c39-9d0a-0d4b8e1f7a10\n');
    await expect(openStore(folder)).rejects.toThrow(damaged);
    writeFileSync(join(folder, 'id'), 'zzz');
    await expect(openStore(folder)).rejects.toThrow(damaged);
  });

  /** Writes beside our code, as a broken disk or a hand would. */
  async function scribble(key: string, change: (value: string) => string): Promise<void> {
    const level = new Level<string, string>(join(folder, 'level'));
    await level.put(key, change((await level.get(key)) as string), { sync: true });
    await level.close();
  }

  it.each(['durable:promise', 'durable:accepted', 'durable:committed', 'durable:asking'])('%s changed', async (key) => {
    await fill();
    await scribble(key, (value) => `${value.slice(0, -1)} ${value.slice(-1)}`);
    const store = await openStore(folder);
    await expect(store.load()).rejects.toThrow(damaged);
    await store.close();
  });

  it('a run or the head of another form', async () => {
    await fill();
    await scribble('run:r1', () => '00000000 {}');
    const store = await openStore(folder);
    await expect(store.runs()).rejects.toThrow(damaged);
    await store.close();
    await scribble('meta', () => '00000000 {}');
    await expect(openStore(folder)).rejects.toThrow(damaged);
  });

  it('a folder that is a file', async () => {
    mkdirSync(join(dir, 'home'));
    writeFileSync(folder, '');
    await expect(openStore(folder)).rejects.toMatchObject({ code: 'home-unwritable' });
  });
});
