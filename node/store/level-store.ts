import { randomUUID } from 'node:crypto';
import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { Level } from 'level';
import { z } from 'zod';
import { jsonOf } from '../../protocol/codec.ts';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { NodeId, StoreId, WallMs } from '../../protocol/ids.ts';
import { Ledger, Run } from '../../protocol/ledger.ts';
import type { Durable, Write } from '../../scheduler/effects.ts';
import type { LocalRun, Store } from '../ports.ts';
import { countKey, LevelBatches, type LevelOperation, type OpenLevel, rememberedCount } from './level-batches.ts';

/** Rises when the layout changes in a way that an older agent would misread. */
const storeSchema = 1;

const Meta = z.object({ schema: z.int().positive(), id: StoreId });
const durables: { [K in keyof Durable]: z.ZodType<Durable[K]> } = {
  promise: z.object({ term: z.int().nonnegative(), votedFor: NodeId.nullable() }),
  accepted: Ledger.nullable(),
  committed: Ledger.nullable(),
  asking: z.array(z.object({ grant: z.string(), class: z.string(), runner: z.number().nullable(), wallMs: WallMs })),
  store: StoreId.nullable(),
};
const LocalRunSchema: z.ZodType<LocalRun> = z.looseObject({
  run: Run,
  payload: z.string(),
  url: z.string(),
  handle: z.string().nullable(),
  traceOffset: z.int().nonnegative(),
  progress: z.string().optional(),
});

const empty: Durable = {
  promise: { term: 0, votedFor: null },
  accepted: null,
  committed: null,
  asking: [],
  store: null,
};
const sync = { sync: true } as const;
const runKey = (run: string): string => `run:${run}`;
/** LevelDB does not check what it reads back from a table, so each value carries its own checksum. */
const withChecksum = (text: string): string => `${crc32(text).toString(16).padStart(8, '0')} ${text}`;

function checked(stored: string, folder: string, key: string): string {
  const text = stored.slice(9);
  if (withChecksum(text) !== stored) throw corrupt(folder, `${key} does not match its checksum`);
  return text;
}

const factKey = (key: string): string => `fact:${key}`;
const durableKey = (key: string): string => `durable:${key}`;

type Database = Level<string, string>;
/** Makes the handle of a level; tests have one that fails. */
type LevelAt = (location: string, createIfMissing: boolean) => Database;
const levelOnDisk: LevelAt = (location, createIfMissing) => new Level(location, { createIfMissing });

/**
 * Life of a store: opened (or created, with a new store id: SAFETY L8) -> loaded and checked -> written with fsync ->
 * closed. The folder is 0700 and holds `level/`, `id` (so that a level that lost its files is not taken for a new one),
 * `count` (so that one that forgot writes is found out) and, once damage was seen, `corrupt`: LevelDB repairs by forgetting, and forgetting a vote is worse than stopping.
 * Throws `store-corrupt`, `store-failed`, `home-unwritable`, or `agent-running` when another agent has it open.
 */
export async function openStore(folder: string, levelAt: LevelAt = levelOnDisk): Promise<Store> {
  prepareFolder(folder);
  const known = readKnownId(folder);
  if (existsSync(join(folder, 'corrupt'))) throw corrupt(folder, readFileSync(join(folder, 'corrupt'), 'utf8').trim());
  const level = levelAt(join(folder, 'level'), known === null);
  await open(level, folder);
  try {
    failOnDroppedData(folder);
    const id = await readMeta(level, folder, known);
    const count = await readCount(level, folder);
    const batches = new LevelBatches(
      { level, count },
      {
        countFile: join(folder, 'count'),
        showCount: (one) => withChecksum(String(one)),
        reopen: (before) => reopen(folder, id, before, levelAt),
      },
    );
    return new LevelStore(folder, id, batches);
  } catch (error) {
    await level.close();
    throw error;
  }
}

/** After a rejected write. What it rejected may be there all the same, as one more batch; nothing else may have changed. */
async function reopen(folder: string, id: string, before: OpenLevel, levelAt: LevelAt): Promise<OpenLevel> {
  await before.level.close();
  const level = levelAt(join(folder, 'level'), false);
  await open(level, folder);
  try {
    failOnDroppedData(folder);
    await readMeta(level, folder, id);
    const count = await readCount(level, folder);
    if (count < before.count) throw markCorrupt(folder, `it has forgotten ${before.count - count} writes`);
    // While it was closed its lock was free.
    if (count > before.count + 1) throw new AutogitError('agent-running', `another agent has written to ${folder}`);
    return { level, count };
  } catch (error) {
    await level.close();
    throw error;
  }
}

function prepareFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    // All that LevelDB makes from now on, and what an earlier version left open to others.
    process.umask(0o077);
    closeToOthers(folder);
  } catch (cause) {
    throw new AutogitError('home-unwritable', `${folder} cannot be used: ${sentenceOf(cause)}`, { cause });
  }
}

/** A descriptor of ours in a wrong hand must open nothing anew: not only the folder is private, each file is. */
function closeToOthers(path: string): void {
  const entry = lstatSync(path);
  if (entry.isSymbolicLink()) return;
  if ((entry.mode & 0o077) !== 0) chmodSync(path, entry.mode & 0o700);
  if (entry.isDirectory()) for (const name of readdirSync(path)) closeToOthers(join(path, name));
}

const corrupt = (folder: string, what: string, cause?: unknown): AutogitError =>
  new AutogitError('store-corrupt', `the store ${folder} is damaged: ${what}`, {
    cause,
    hint: `join again after this (the other nodes keep the ledger, and the store comes back as a new one): mv ${folder} ${folder}.damaged`,
  });

/** The same, kept until a person moves the folder away; on a full disk it cannot be kept, and is refused all the same. */
function markCorrupt(folder: string, what: string): AutogitError {
  try {
    writeFileSync(join(folder, 'corrupt'), `${what}\n`, { mode: 0o600 });
  } catch {
    return corrupt(folder, what);
  }
  return corrupt(folder, what);
}

function readKnownId(folder: string): string | null {
  const file = join(folder, 'id');
  if (!existsSync(file)) return null;
  const id = readFileSync(file, 'utf8').trim();
  if (!z.uuid().safeParse(id).success) throw corrupt(folder, 'its file "id" holds no id');
  return id;
}

async function open(level: Database, folder: string): Promise<void> {
  try {
    await level.open();
  } catch (error) {
    const cause = (error as Error).cause as { code?: string; message?: string } | undefined;
    if (cause?.code === 'LEVEL_LOCKED') throw new AutogitError('agent-running', `another agent has ${folder} open`);
    const what = cause?.message ?? String(error);
    if (cause?.code === 'LEVEL_CORRUPTION' || /does not exist|No such file|missing|corrupt/i.test(what))
      throw corrupt(folder, what, error);
    throw new AutogitError('store-failed', `the store ${folder} cannot be opened: ${what}`, { cause: error });
  }
}

/**
 * LevelDB opens a log with a broken checksum by dropping what follows, and says so only in its own file LOG; the next
 * start would look clean. So the finding is kept in `corrupt` until a person moves the folder away.
 */
function failOnDroppedData(folder: string): void {
  const path = join(folder, 'level', 'LOG');
  const line = existsSync(path)
    ? readFileSync(path, 'utf8')
        .split('\n')
        .find((text) => /Corruption|dropping \d+ bytes/.test(text))
    : undefined;
  if (line === undefined) return;
  const what = line.replace(/^\S+ \S+ /, '');
  throw markCorrupt(folder, what);
}

async function readMeta(level: Database, folder: string, known: string | null): Promise<string> {
  const text = await read(level, folder, 'meta');
  if (text === undefined) {
    if (known !== null || (await level.keys({ limit: 1 }).all()).length > 0)
      throw corrupt(folder, 'its head is missing');
    const id = randomUUID();
    await level.put('meta', withChecksum(JSON.stringify({ schema: storeSchema, id })), sync);
    writeFileSync(join(folder, 'id'), `${id}\n`, { mode: 0o600, flush: true });
    return id;
  }
  const meta = parse(Meta, text, folder, 'its head');
  if (meta.schema > storeSchema)
    throw new AutogitError(
      'unsupported',
      `the store ${folder} was written by a newer autogit-node (schema ${meta.schema})`,
      {
        hint: 'start the newer version, or move the folder away and join again',
      },
    );
  if (known !== null && meta.id !== known) throw corrupt(folder, 'its head and its file "id" differ');
  if (known === null) writeFileSync(join(folder, 'id'), `${meta.id}\n`, { mode: 0o600, flush: true });
  return meta.id;
}

/** Throws when the level is behind what was acknowledged: it would have this node vote twice. */
async function readCount(level: Database, folder: string): Promise<number> {
  const count = Number((await read(level, folder, countKey)) ?? 0);
  const remembered = rememberedCount(join(folder, 'count'));
  if (remembered === null) throw corrupt(folder, 'its file "count" holds no number');
  if (remembered <= count) return count;
  const what = `it has forgotten ${remembered - count} of ${remembered} writes`;
  throw markCorrupt(folder, what);
}

async function read(level: Database, folder: string, key: string): Promise<string | undefined> {
  try {
    const stored = await level.get(key);
    return stored === undefined ? undefined : checked(stored, folder, key);
  } catch (error) {
    if (error instanceof AutogitError) throw error;
    if ((error as { code?: string }).code === 'LEVEL_CORRUPTION') throw corrupt(folder, `${key} cannot be read`, error);
    throw new AutogitError('store-failed', `${key} of the store ${folder} cannot be read`, { cause: error });
  }
}

function parse<T>(schema: z.ZodType<T>, text: string, folder: string, what: string): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw corrupt(folder, `${what} is no JSON`, error);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const first = parsed.error.issues[0];
  throw corrupt(folder, `${what} has an unknown form (${first?.path.join('.')}: ${first?.message})`);
}

class LevelStore implements Store {
  readonly id: string;
  readonly #folder: string;
  readonly #batches: LevelBatches;

  constructor(folder: string, id: string, batches: LevelBatches) {
    this.#folder = folder;
    this.id = id;
    this.#batches = batches;
  }

  async load(): Promise<Durable> {
    const durable: Durable = { ...empty };
    const level = await this.#batches.level();
    const load = async <K extends keyof Durable>(key: K): Promise<void> => {
      const text = await read(level, this.#folder, durableKey(key));
      if (text !== undefined) durable[key] = parse(durables[key], text, this.#folder, key);
    };
    for (const key of Object.keys(durables) as (keyof Durable)[]) await load(key);
    return durable;
  }

  async write(writes: Write[]): Promise<void> {
    await this.#batch(
      writes.map(({ key, value }) => ({
        type: 'put',
        key: durableKey(key),
        value: withChecksum(jsonOf(value)),
      })),
    );
  }

  async putRun(run: LocalRun): Promise<void> {
    await this.#batch([{ type: 'put', key: runKey(run.run.run), value: withChecksum(JSON.stringify(run)) }]);
  }

  async deleteRun(run: string): Promise<void> {
    await this.#batch([{ type: 'del', key: runKey(run) }]);
  }

  async runs(): Promise<LocalRun[]> {
    const found: LocalRun[] = [];
    const level = await this.#batches.level();
    for (const [key, stored] of await level.iterator({ gte: 'run:', lt: 'run;' }).all())
      found.push(parse(LocalRunSchema, checked(stored, this.#folder, key), this.#folder, key));
    return found;
  }

  async get(key: string): Promise<string | null> {
    return (await read(await this.#batches.level(), this.#folder, factKey(key))) ?? null;
  }

  async put(key: string, value: string): Promise<void> {
    await this.#batch([{ type: 'put', key: factKey(key), value: withChecksum(value) }]);
  }

  async rewrite(): Promise<void> {
    const level = (await this.#batches.level()) as Database & {
      compactRange(start: string, end: string): Promise<void>;
    };
    // A space and a tilde lie before and behind all keys.
    await level.compactRange(' ', '~');
  }

  async close(): Promise<void> {
    await this.#batches.close();
  }

  async #batch(operations: LevelOperation[]): Promise<void> {
    try {
      await this.#batches.write(operations);
    } catch (error) {
      // What opening it again said is a sentence already.
      if (error instanceof AutogitError) throw error;
      const cause = (error as Error).cause ?? error;
      throw new AutogitError('store-failed', `the store ${this.#folder} cannot be written: ${sentenceOf(cause)}`, {
        cause: error,
      });
    }
  }
}

/**
 * An id that no store ever had (SAFETY L9). From the kernel, afresh: what this process has drawn in advance would be drawn
 * again by a copy of its memory, after a virtual machine was rolled back while it ran.
 */
export const mintStoreId = (): StoreId => readFileSync('/proc/sys/kernel/random/uuid', 'utf8').trim();

/** True when the folder holds a store already: for doctor, without opening it. */
export const hasStore = (folder: string): boolean => existsSync(folder) && readdirSync(folder).includes('id');
