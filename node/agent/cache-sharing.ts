import { createWriteStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import type { Answer, Ask } from '../../protocol/asks.ts';
import type { NodeId } from '../../protocol/ids.ts';
import { throughDoor } from '../hosting/wire/door-call.ts';
import { openOnceDoor } from '../hosting/wire/once-door.ts';
import { PoliteSender, RateLimit } from '../hosting/wire/polite-sender.ts';
import type { CacheStore } from '../runs/cache/cache-store.ts';
import { type CachesElsewhere, type FoundElsewhere, newestOf } from '../runs/cache/caches-elsewhere.ts';
import { zstd } from '../runs/cache/zstd-here.ts';
import { NoRoom, whileRoom } from '../runs/spool-file.ts';
import { doorAt } from './copy-door-at.ts';
import { refused } from './hosting-answers.ts';

interface CacheSharingOptions {
  /** False: its owner wants none given and none taken. */
  isAllowed: boolean;
  /** What this machine sends a second of them at most; null: what the way has room for. */
  rateBytes: number | null;
  network: {
    ask(node: NodeId, ask: Ask, timeoutMs: number): Promise<Answer>;
    /** host:port of where it is connected now. */
    addressOf(node: NodeId): string | null;
    connected(): NodeId[];
  };
  /** Whether a member says that it gives its own. */
  gives(node: NodeId): boolean;
  nameOf(node: NodeId): string;
  store(): CacheStore;
  clock: { wallMs(): number; bootMs(): number };
}

type CacheAsk = Ask & { kind: 'find-cache' | 'open-cache-door' };

export const sharingTimings = {
  /** A job waits no longer for all who are asked, before its script can begin. */
  askMs: 400,
  /** Who says nothing for so long gives nothing more. */
  silentMs: 15_000,
  /** Who did not answer in time, or gave none, is not asked for so long. */
  restMs: 120_000,
} as const;
/** What comes while one write is at the disk goes with the next one; by Node's usual 16 KiB, as long as a record of TLS, each waits for the one before. */
const writeAheadBytes = 1 << 20;
const askedMost = 32;
const doorsMost = 4;

/**
 * Caches of jobs, given to other members and taken from them: whoever needs one asks who has a newer one, and takes it over a
 * connection of its own, by a key for that connection alone. What comes is believed by its sum, elsewhere.
 */
export class CacheSharing implements CachesElsewhere {
  readonly #options: CacheSharingOptions;
  readonly #limit: RateLimit;
  readonly #stopped = new AbortController();
  /** Boot ms until which a machine is not asked. */
  readonly #resting = new Map<NodeId, number>();
  #doors = 0;

  constructor(options: CacheSharingOptions) {
    this.#options = options;
    this.#limit = new RateLimit(options.rateBytes);
  }

  stop(): void {
    this.#stopped.abort(new Error('the agent ends'));
  }

  async newest(owner: string, key: string, than: number, signal: AbortSignal): Promise<FoundElsewhere | null> {
    const { isAllowed, network, gives, clock } = this.#options;
    if (!isAllowed) return null;
    const now = clock.bootMs();
    const isRested = (node: NodeId): boolean => (this.#resting.get(node) ?? 0) <= now;
    const nodes = network.connected().filter((node) => gives(node) && isRested(node));
    const ask = { kind: 'find-cache', owner, key, than, zstd: zstd !== null } as const;
    const answers = nodes.slice(0, askedMost).map(async (node) => {
      const answer = await network.ask(node, ask, sharingTimings.askMs).catch(() => this.#rest(node));
      return answer?.kind === 'cache-found' && answer.cache ? [{ node, ...answer.cache }] : [];
    });
    const late = sleep(sharingTimings.askMs, undefined, { signal, ref: false }).catch(() => undefined);
    const found = await soFar(answers, late);
    const best = newestOf(found.flat(), { than, wallMs: clock.wallMs() });
    if (best === null) return null;
    const { node, savedAt, bytes } = best;
    return {
      ...{ node: this.#options.nameOf(node), savedAt, sizeBytes: bytes },
      fetch: (file, given) =>
        this.#fetch(node, { owner, key }, bytes, file, given).catch((error: Error) => {
          // This machine's own disk is no fault of whoever gives.
          if (!(error instanceof NoRoom)) this.#rest(node);
          throw error;
        }),
    };
  }

  /** What another member asks. */
  async answer(ask: CacheAsk): Promise<Answer> {
    const { isAllowed, store } = this.#options;
    if (!isAllowed) return refused('its owner gives no caches of jobs to other machines (--cache-share never)');
    const file = store().fileAt(ask.owner, ask.key);
    if (ask.kind === 'find-cache') {
      const kept = await store().factsAt(file);
      const isWanted = kept !== null && kept.savedAt > ask.than && (ask.zstd || kept.method !== 'zstd');
      return { kind: 'cache-found', cache: isWanted ? { savedAt: kept.savedAt, bytes: kept.sizeBytes } : null };
    }
    if (this.#doors >= doorsMost) return refused('it gives others their caches at this moment');
    this.#doors += 1;
    let hasLeft = false;
    const leave = (): void => {
      if (!hasLeft) this.#doors -= 1;
      hasLeft = true;
    };
    // Nobody came: a door is shut after a time of its own.
    const unused = setTimeout(leave, sharingTimings.silentMs).unref();
    const serve = async (socket: TLSSocket): Promise<void> => {
      clearTimeout(unused);
      // It took so long to prove itself that its place is another's.
      if (!hasLeft) await this.#give(socket, file).finally(leave);
    };
    try {
      return { kind: 'copy-door', ...(await openOnceDoor(serve, this.#stopped.signal)) };
    } catch (error) {
      clearTimeout(unused);
      leave();
      throw error;
    }
  }

  async #give(socket: TLSSocket, path: string): Promise<void> {
    const pace = new PoliteSender(this.#limit, false);
    const { signal } = this.#stopped;
    socket.setTimeout(sharingTimings.silentMs, () => socket.destroy());
    const file = await open(path, 'r');
    try {
      const bytes = file.createReadStream({ autoClose: false, highWaterMark: 256 << 10 });
      await pipeline(
        bytes,
        async function* (chunks: AsyncIterable<Buffer>) {
          for await (const chunk of chunks) {
            await pace.ready(chunk.length, signal);
            yield chunk;
          }
        },
        socket,
        { signal },
      );
    } finally {
      await file.close();
    }
  }

  async #fetch(
    node: NodeId,
    what: { owner: string; key: string },
    bytes: number,
    file: string,
    given: AbortSignal,
  ): Promise<void> {
    const door = await doorAt(node, { kind: 'open-cache-door', ...what }, this.#options.network);
    const signal = AbortSignal.any([given, this.#stopped.signal]);
    const socket = await throughDoor(door, signal);
    socket.setTimeout(sharingTimings.silentMs, () =>
      socket.destroy(new Error(`nothing came for ${sharingTimings.silentMs / 1000} s`)),
    );
    let come = 0;
    await pipeline(
      socket,
      async function* (chunks: AsyncIterable<Buffer>) {
        for await (const chunk of chunks) {
          come += chunk.length;
          if (come > bytes) throw new Error('more came than was promised');
          yield chunk;
        }
      },
      whileRoom(dirname(file), 'the cache'),
      createWriteStream(file, { flags: 'wx', mode: 0o600, highWaterMark: writeAheadBytes }),
      { signal },
    );
    if (come !== bytes) throw new Error(`${come} of ${bytes} bytes came`);
  }

  #rest(node: NodeId): null {
    this.#resting.set(node, this.#options.clock.bootMs() + sharingTimings.restMs);
    return null;
  }
}

/** What is there when all have answered, or when nobody waits any longer. */
async function soFar<T>(answers: readonly Promise<T>[], late: Promise<unknown>): Promise<T[]> {
  const come: T[] = [];
  const all = Promise.all(answers.map((answer) => answer.then((one) => come.push(one))));
  all.catch(() => undefined);
  await Promise.race([all, late]);
  return [...come];
}
