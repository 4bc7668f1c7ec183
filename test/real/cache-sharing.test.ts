import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { CacheSharing, sharingTimings } from '../../node/agent/cache-sharing.ts';
import { systemClock } from '../../node/clock.ts';
import { madeEntry, type TarEntry, writeTar } from '../../node/executors/tar-format.ts';
import { throughDoor } from '../../node/hosting/wire/door-call.ts';
import { type CacheHead, OpenCache } from '../../node/runs/cache/cache-file.ts';
import { cacheMagic } from '../../node/runs/cache/cache-layout.ts';
import { lookAsItComes } from '../../node/runs/cache/cache-look.ts';
import { type CacheOwner, CacheStore, cacheNames } from '../../node/runs/cache/cache-store.ts';
import { Answer, Ask } from '../../protocol/asks.ts';
import { RunLab } from './run-lab.ts';

/** Two machines' caches, over real TLS; the mesh's own line between them is a call. */
const top = mkdtempSync(join(tmpdir(), 'autogit-shared-'));
afterAll(() => rmSync(top, { recursive: true, force: true }));
const clock = systemClock();
const log = { info: () => {}, warn: () => {} };
const storeAt = (home: string): CacheStore => new CacheStore({ home, log, wallMs: () => clock.wallMs() });

let there: CacheStore;
let here: CacheStore;
let giver: CacheSharing;
let asked: string[];
beforeEach(() => {
  const [a, b] = ['a-', 'b-'].map((name) => mkdtempSync(join(top, name))) as [string, string];
  [there, here] = [storeAt(a), storeAt(b)];
  asked = [];
  giver = sharing(there, async () => Promise.reject(new Error('nobody')));
});

function sharing(
  store: CacheStore,
  ask: (ask: Ask) => Promise<Answer>,
  more: { isAllowed?: boolean; nodes?: string[]; silent?: string[] } = {},
): CacheSharing {
  return new CacheSharing({
    isAllowed: more.isAllowed ?? true,
    rateBytes: null,
    network: {
      ask: async (node, question) => {
        asked.push(`${node} ${question.kind}`);
        // As it goes over the wire.
        return Answer.parse(JSON.parse(JSON.stringify(await ask(Ask.parse(JSON.parse(JSON.stringify(question)))))));
      },
      addressOf: () => '127.0.0.1:1',
      connected: () => more.nodes ?? ['kang'],
    },
    gives: (node) => !(more.silent ?? []).includes(node),
    nameOf: (node) => node,
    store: () => store,
    clock,
  });
}

const owner: CacheOwner = { instance: 'i', projectId: 1, executor: 'process', architecture: 'amd64' };
const names = cacheNames(owner, 'k');
const never = new AbortController().signal;

/** A cache made by hand, of whatever entries. */
async function made(entries: TarEntry[], more: Partial<CacheHead> = {}, isPlain?: boolean): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of writeTar(entries)) chunks.push(chunk);
  const tar = Buffer.concat(chunks);
  const number = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    return bytes;
  };
  const head = { key: 'k', project: 'lab/one', savedAt: clock.wallMs(), job: 1, ref: 'main', node: 'kang', ...more };
  const headJson = Buffer.from(JSON.stringify({ method: 'stored', ...head }));
  const content = createHash('sha256').update(tar).digest('hex');
  const tailJson = Buffer.from(JSON.stringify({ content, files: entries.length, plainBytes: tar.length, isPlain }));
  const blocks: Buffer[] = [];
  for (let at = 0; at < tar.length; at += 1 << 20) {
    const part = tar.subarray(at, at + (1 << 20));
    blocks.push(number(part.length), number(part.length), Buffer.from([0]), part);
  }
  const all = [cacheMagic, number(headJson.length), headJson, ...blocks, Buffer.alloc(9), tailJson];
  const body = Buffer.concat([...all, number(tailJson.length)]);
  return Buffer.concat([body, createHash('sha256').update(body).digest()]);
}
async function keepThere(bytes: Buffer): Promise<void> {
  const file = await there.spool();
  writeFileSync(file, bytes);
  await there.keep(owner, 'k', file);
}
const entry = (name: string, content: string): TarEntry => madeEntry(name, { content });
const link = (name: string, target: string): TarEntry => ({ ...madeEntry(name), kind: 'symlink', linkname: target });

const taken = async (from: CacheSharing): Promise<string> => {
  const found = await from.newest(names.owner, names.key, 0, never);
  if (found === null) return 'none';
  const file = await here.spool(found.sizeBytes);
  try {
    const stop = new AbortController();
    const looking = lookAsItComes(file, found.sizeBytes, stop.signal);
    looking.catch(() => undefined);
    await found.fetch(file, never).finally(() => setTimeout(() => stop.abort(), 10_000).unref());
    const adopted = await here.adopt(owner, 'k', file, await looking);
    // What is unpacked then is what lies there.
    const lies = await here.open(owner, 'k');
    expect(adopted.tail).toEqual(lies?.tail);
    await Promise.all([adopted.close(), lies?.close()]);
    return `from ${found.node}`;
  } catch (error) {
    return (error as Error).message;
  }
};

describe('a cache of another machine', () => {
  it('comes over a connection of its own, whole; a newer one that is here is not asked for', async () => {
    await keepThere(await made([entry('a', 'x'.repeat(3_000_000)), link('l', 'a')]));
    const taker = sharing(here, (ask) => giver.answer(ask as never));
    expect(await taken(taker)).toBe('from kang');
    expect(readFileSync(here.fileOf(owner, 'k')).equals(readFileSync(there.fileOf(owner, 'k')))).toBe(true);
    const facts = await here.factsAt(here.fileOf(owner, 'k'));
    expect(await taker.newest(names.owner, names.key, facts?.savedAt ?? 0, never)).toBe(null);
    expect(await taker.newest(names.owner, cacheNames(owner, 'other').key, 0, never)).toBe(null);
  });

  it('kept under another key there is not taken, not even until it is opened here', async () => {
    const bytes = await made([entry('a', '1')], { key: 'other' });
    const file = await here.spool(bytes.length);
    writeFileSync(file, bytes);
    const look = await lookAsItComes(file, bytes.length, never);
    await expect(here.adopt(owner, 'k', file, look)).rejects.toThrow('it was kept under another key');
    expect(await here.open(owner, 'k')).toBeNull();
  });

  it('is neither given nor asked for where an owner does not want it', async () => {
    await keepThere(await made([entry('a', '1')]));
    const mean = sharing(there, async () => Promise.reject(new Error('nobody')), { isAllowed: false });
    expect(await taken(sharing(here, (ask) => mean.answer(ask as never)))).toBe('none');
    asked = [];
    expect(await taken(sharing(here, (ask) => giver.answer(ask as never), { isAllowed: false }))).toBe('none');
    expect(await taken(sharing(here, (ask) => giver.answer(ask as never), { silent: ['kang'] }))).toBe('none');
    expect(asked).toEqual([]);
  });

  it('the newest of all is taken; who does not answer costs a moment, once', async () => {
    await keepThere(await made([entry('a', '1')]));
    const answers: Record<string, () => Promise<Answer>> = {
      asleep: () => new Promise<Answer>(() => {}),
      old: async () => ({ kind: 'cache-found', cache: { savedAt: 1, bytes: 1 } }),
      ahead: async () => ({ kind: 'cache-found', cache: { savedAt: Date.now() + 86_400_000, bytes: 1 } }),
      before: async () => Promise.reject(new Error('unknown question')),
      odd: async () => ({ kind: 'root-password', password: null }),
    };
    let turn = 0;
    const nodes = ['asleep', 'old', 'ahead', 'before', 'odd', 'kang'];
    const taker = sharing(
      here,
      (ask) => {
        if (ask.kind !== 'find-cache') return giver.answer(ask as never);
        const node = nodes[turn++ % nodes.length] as string;
        return answers[node]?.() ?? giver.answer(ask);
      },
      { nodes },
    );
    const began = performance.now();
    expect(await taken(taker)).toBe('from kang');
    expect(performance.now() - began).toBeLessThan(sharingTimings.askMs + 2000);
    asked = [];
    turn = 1;
    await taker.newest(names.owner, names.key, 0, never);
    expect(asked.join()).not.toMatch(/before/);
  });

  it.each([
    ['cut off', (bytes: Buffer) => bytes.subarray(0, bytes.length - 1), /^none$/],
    ['longer', (bytes: Buffer) => Buffer.concat([bytes, bytes]), /^none$|not those that were kept/],
    [
      'another one',
      (bytes: Buffer) => Buffer.concat([bytes.subarray(0, 400), Buffer.from('?'), bytes.subarray(401)]),
      /its bytes are not those/,
    ],
    ['no cache', () => Buffer.from('#!/bin/sh\nrm -rf /\n'.repeat(20)), /^none$/],
  ])('that is %s is not believed', async (_, change, said) => {
    await keepThere(await made([entry('a', 'body '.repeat(200))]));
    const path = there.fileOf(owner, 'k');
    writeFileSync(path, change(readFileSync(path)));
    expect(await taken(sharing(here, (ask) => giver.answer(ask as never)))).toMatch(said);
    expect(await here.list()).toEqual([]);
  });

  it.each<[string, TarEntry[], Partial<CacheHead>]>([
    ['leads out by a name', [entry('../a', '1')], {}],
    ['leads out by an absolute name', [entry('/etc/a', '1')], {}],
    ["is git's own", [entry('.git/config', '1')], {}],
    ['writes through a link', [link('etc', '/etc'), entry('etc/a', '1')], {}],
    ['has a hard link to elsewhere', [{ ...entry('a', ''), kind: 'link', linkname: '../../etc/shadow', size: 0 }], {}],
    ['has a pipe', [{ ...madeEntry('p'), kind: 'fifo' }], {}],
    ['was kept under another key', [entry('a', '1')], { key: 'other-protected' }],
  ])('that %s is not kept, though its sum is right', async (_, entries, head) => {
    await keepThere(await made(entries, head));
    expect(await taken(sharing(here, (ask) => giver.answer(ask as never)))).toMatch(
      /name in it|link in it|more than files|another key/,
    );
    expect(await here.list()).toEqual([]);
    expect(readdirSync(join(there.fileOf(owner, 'k'), '..'))).toHaveLength(1);
  });

  it.each<[string, TarEntry[], RegExp]>([
    ['a folder is missing', [entry('d/a', '1')], /not as it says/],
    ['a folder comes too late', [entry('d/a', '1'), madeEntry('d', { mode: 0o755 })], /not as it says/],
    ["a file is somebody's", [{ ...entry('a', '1'), uid: 1000 }], /not as it says/],
    ['it is', [madeEntry('d', { mode: 0o755 }), entry('d/a', '1'), link('l', 'd')], /^from kang$/],
  ])('that says nothing in it needs to be changed is believed only where that is so: %s', async (_, entries, said) => {
    const through = sharing(here, (ask) => giver.answer(ask as never));
    await keepThere(await made(entries, {}, true));
    expect(await taken(through)).toMatch(said);
    await keepThere(await made(entries, { savedAt: clock.wallMs() + 1000 }));
    expect(await taken(through)).toBe('from kang');
  });

  it('of which more comes than was promised is cut off', async () => {
    await keepThere(await made([entry('a', 'x'.repeat(500_000))]));
    const taker = sharing(here, async (ask) => {
      const answer = await giver.answer(ask as never);
      return answer.kind === 'cache-found' && answer.cache
        ? { ...answer, cache: { ...answer.cache, bytes: 1000 } }
        : answer;
    });
    expect(await taken(taker)).toBe('more came than was promised');
  });

  it('gives to four at once, and the doors of those who do not come are given back', async () => {
    await keepThere(await made([entry('a', '1')]));
    const question = { kind: 'open-cache-door', ...names } as const;
    for (let count = 0; count < 4; count++) expect((await giver.answer(question)).kind).toBe('copy-door');
    expect(await giver.answer(question)).toMatchObject({ kind: 'refused' });
    giver.stop();
  });

  it('gives to no more of them where one comes so late that its door was given back', async () => {
    await keepThere(await made([entry('a', '1')]));
    const question = { kind: 'open-cache-door', ...names } as const;
    const timings: { silentMs: number } = sharingTimings as never;
    const { silentMs } = timings;
    timings.silentMs = 50;
    const door = await giver.answer(question);
    timings.silentMs = silentMs;
    if (door.kind !== 'copy-door') throw new Error(door.kind);
    await sleep(200);
    // Whether it is let in for a moment, or not at all.
    const socket = await throughDoor({ host: '127.0.0.1', ...door }, never).catch(() => null);
    socket?.resume();
    await sleep(200);
    for (let count = 0; count < 4; count++) expect((await giver.answer(question)).kind).toBe('copy-door');
    expect(await giver.answer(question)).toMatchObject({ kind: 'refused' });
    giver.stop();
  });
});

it('a job that runs on another machine next time finds the newest cache there', async () => {
  const ci = `
stages: [one, two, three]
make: { stage: one, cache: { key: k, paths: [w] }, script: ["mkdir w; echo first > w/f"] }
use: { stage: two, cache: { key: k, paths: [w] }, script: ["cat w/f; echo second > w/f"] }
again: { stage: three, cache: { key: k, paths: [w] }, script: ["cat w/f"] }
`;
  const lab = await RunLab.start({ '.gitlab-ci.yml': ci });
  const elsewhere = join(lab.folder, 'kang');
  try {
    mkdirSync(elsewhere);
    const kept = storeAt(elsewhere);
    const other = sharing(kept, async () => Promise.reject(new Error('nobody')));
    lab.more = { elsewhere: sharing(here, (ask) => other.answer(ask as never)) };
    await lab.agent();
    await lab.traceOfNext();
    renameSync(join(lab.home, 'caches'), join(elsewhere, 'caches'));
    const use = await lab.traceOfNext();
    expect(use).toMatch(
      /Checking cache for k-protected\.\.\.\nFetching it from kang: \d+ B, kept .* ago\n2 files, .* kept by job 1 of main .* ago\nSuccessfully extracted cache\n/,
    );
    expect(use).toContain('\nfirst\n');
    // What is here is the newest now.
    const again = await lab.traceOfNext();
    expect(again).not.toContain('Fetching it');
    expect(again).toContain('\nsecond\n');
    expect((await kept.list()).map(({ key }) => key)).toEqual(['k-protected']);
    const opened = await OpenCache.at((await kept.list())[0]?.file ?? '');
    expect(opened?.head.node).toBe('kang');
    await opened?.close();
  } finally {
    await lab.stop();
  }
});

it('that breaks off on its way leaves nothing behind, and the job has the one of its own machine', async () => {
  const ci = `
stages: [one, two, three]
make: { stage: one, cache: { key: k, paths: [w] }, script: ["mkdir w; head -c 3000000 /dev/urandom > w/f"] }
use: { stage: two, cache: { key: k, paths: [w] }, script: ["wc -c < w/f"] }
again: { stage: three, cache: { key: k, paths: [w] }, script: ["wc -c < w/f"] }
`;
  const lab = await RunLab.start({ '.gitlab-ci.yml': ci });
  const elsewhere = join(lab.folder, 'kang');
  try {
    const other = sharing(storeAt(elsewhere), async () => Promise.reject(new Error('nobody')));
    // As of a machine that dies when it has given most of it.
    const promised = async (ask: Ask): Promise<Answer> =>
      ask.kind === 'find-cache'
        ? { kind: 'cache-found', cache: { savedAt: clock.wallMs(), bytes: 4_000_000 } }
        : other.answer(ask as never);
    lab.more = { elsewhere: sharing(here, promised) };
    await lab.agent();
    // None is here yet, and none comes.
    expect(await lab.traceOfNext()).toMatch(
      /It did not come from kang: 0 of 4000000 bytes came\nWARNING: Cache file does not exist\n/,
    );
    mkdirSync(elsewhere);
    cpSync(join(lab.home, 'caches'), join(elsewhere, 'caches'), { recursive: true });
    lab.more = { elsewhere: sharing(here, promised) };
    await lab.stopAgent();
    await lab.agent();
    const use = await lab.traceOfNext();
    expect(use).toMatch(
      /It did not come from kang: 30\d{5} of 4000000 bytes came\n[\s\S]*Successfully extracted cache\n/,
    );
    expect(use).toContain('\n3000000\n');
    expect(readdirSync(join(lab.home, 'caches', 'incoming'))).toEqual([]);
    // It has a rest.
    const again = await lab.traceOfNext();
    expect(again).not.toContain('Fetching it');
    expect(again).toContain('Successfully extracted cache');
  } finally {
    await lab.stop();
  }
});
