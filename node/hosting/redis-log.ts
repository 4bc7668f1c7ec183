import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import type { Log } from '../log.ts';
import type { ServiceHost } from './service-host.ts';

/*
 * Redis' log of each write (AOF). Told to read a log that is not there it starts with 0 keys, and its next clean end writes the
 * empty set over its file. So the log is begun on the living server, and a start reads it only where it is there (trials A8).
 */

/** How GitLab's queued work is kept on its own disk. */
interface QueuedWork {
  /** The log is synced once a second (`appendfsync everysec`); the file is written once a minute (`save 60 1`). */
  each: 'second' | 'minute';
  /** Why not each second, or how. */
  because: string;
  /** The log is on its way. */
  isComing?: boolean;
}

/**
 * What the image runs in each reconfigure, before Redis is begun: it prints what goes behind the image's own `appendonly no`.
 * The log counts only with its manifest, which Redis writes once the log is whole. A file that is over two minutes younger than all
 * of the log is of a server that ran without it: it has all that the log has, and more.
 *
 * No `;` and no quote within: it passes Ruby, and a shell or none.
 */
export const redisConfigCommand = `/bin/sh -c '${[
  'cd /var/opt/gitlab/redis 2>/dev/null',
  'ls appendonlydir/*.manifest >/dev/null 2>&1',
  '[ "$(stat -c %Y dump.rdb 2>/dev/null || echo 0)" -le "$(( $(stat -c %Y appendonlydir/* | sort -n | tail -n 1) + 120 ))" ]',
  'echo appendonly yes',
].join(' && ')} || true'`;

interface RedisSeen {
  isLogged: boolean;
  /** The log is being written whole, or is about to be. */
  isRewriting: boolean;
  /** Of the last time that it was written whole, and of the last time that it was added to. */
  isWritten: boolean;
}

/** Of `INFO persistence`; null: that is no answer of a Redis. */
export function redisSeen(text: string): RedisSeen | null {
  const facts = new Map(text.split(/\r?\n/).map((line) => line.split(':', 2) as [string, string]));
  const enabled = facts.get('aof_enabled');
  if (enabled === undefined) return null;
  return {
    isLogged: enabled === '1',
    isRewriting: facts.get('aof_rewrite_in_progress') === '1' || facts.get('aof_rewrite_scheduled') === '1',
    isWritten: facts.get('aof_last_bgrewrite_status') === 'ok' && (facts.get('aof_last_write_status') ?? 'ok') === 'ok',
  };
}

/**
 * Whether the log holds, and whether it is to be begun. `wasWhole`: this very server was seen with a whole one: then one that is
 * written anew goes beside it.
 */
export function redisLogNow(seen: RedisSeen, wasWhole: boolean): QueuedWork & { act: 'begin' | 'none' } {
  const minute = (because: string) => ({ each: 'minute', because, act: 'none' }) as const;
  if (!seen.isLogged) return { ...minute("until Redis' log of each write is begun"), isComing: true, act: 'begin' };
  if (!seen.isWritten && !seen.isRewriting)
    return minute("Redis cannot write its log of each write: see what it says in GitLab's logs/redis, and its disk");
  if (seen.isRewriting && !wasWhole) return { ...minute("until Redis' log of each write is whole"), isComing: true };
  return { each: 'second', because: 'Redis syncs its log of each write once a second', act: 'none' };
}

const timings = {
  lookMs: 60_000,
  /** While its log is being begun. */
  soonMs: 2000,
  askMs: 15_000,
} as const;

interface RedisLogOptions {
  host: Pick<ServiceHost, 'exec'>;
  clock: { bootMs(): number };
  log: Pick<Log, 'info' | 'warn'>;
}

/**
 * Looked at after each start of GitLab, and once a minute, as a person may restart Redis or tell it otherwise; begun where there is
 * none. Beside the keeper's looks.
 */
export class RedisLog {
  readonly #options: RedisLogOptions;
  #id = '';
  #wasWhole = false;
  #nextMs = 0;
  #work: Promise<void> | null = null;
  #now: QueuedWork | null = null;

  constructor(options: RedisLogOptions) {
    this.#options = options;
  }

  /** Null until it was looked at. */
  get now(): QueuedWork | null {
    return this.#now;
  }

  soon(): void {
    this.#nextMs = 0;
  }

  /**
   * Before GitLab is killed: with a sync each second Redis may answer yes up to two seconds before it has written, where the disk is
   * busy; told so it writes, and syncs, before it answers. False where it has no whole log, or does not say yes.
   */
  async writesFirst(id: string): Promise<boolean> {
    if (id !== this.#id || this.#now?.each !== 'second') return false;
    const said = await this.#ask(id, 'CONFIG', 'SET', 'appendfsync', 'always').catch(sentenceOf);
    if (said.trim() === 'OK') return true;
    this.#options.log.warn(
      `GitLab ends in order, as Redis does not write before it answers: ${said.trim().slice(0, 200)}`,
    );
    return false;
  }

  /** GitLab works in that container. */
  tend(id: string): void {
    if (id !== this.#id) {
      this.#id = id;
      this.#wasWhole = false;
      this.#nextMs = 0;
    }
    const { clock } = this.#options;
    if (this.#work !== null || clock.bootMs() < this.#nextMs) return;
    // Before it: whoever wants one while it goes on (`soon`) gets another one, as this may have been too early.
    this.#nextMs = clock.bootMs() + timings.lookMs;
    this.#work = this.#look(id)
      .then(
        (now) => this.#become(now),
        (error: unknown) => this.#become({ each: 'minute', because: `Redis could not be asked: ${sentenceOf(error)}` }),
      )
      .finally(() => {
        if (this.#now?.isComing === true) this.#nextMs = Math.min(this.#nextMs, clock.bootMs() + timings.soonMs);
        this.#work = null;
      });
  }

  async #look(id: string): Promise<QueuedWork> {
    const seen = redisSeen(await this.#ask(id, 'INFO', 'persistence'));
    if (seen === null) throw new AutogitError('gitlab-answer', 'its answer is none of a Redis');
    const { act, ...now } = redisLogNow(seen, this.#wasWhole);
    if (now.each === 'second') this.#wasWhole = true;
    else if (!seen.isLogged) this.#wasWhole = false;
    if (act === 'begin') {
      this.#options.log.info('Redis begins a log of each write');
      const said = (await this.#ask(id, 'CONFIG', 'SET', 'appendonly', 'yes')).trim();
      if (said !== 'OK')
        return { each: 'minute', because: `Redis does not begin a log of each write: ${said.slice(0, 200)}` };
    }
    return now;
  }

  async #ask(id: string, ...words: string[]): Promise<string> {
    const { code, out } = await this.#options.host.exec(id, ['gitlab-redis-cli', ...words], {
      timeoutMs: timings.askMs,
    });
    if (code === 0) return out;
    throw new AutogitError('gitlab-answer', `gitlab-redis-cli ended with ${code}: ${out.trim().slice(-200)}`);
  }

  #become(now: QueuedWork): void {
    const { log } = this.#options;
    if (now.each !== this.#now?.each)
      log[now.each === 'second' ? 'info' : 'warn'](
        `GitLab's queued work is on the disk each ${now.each}: ${now.because}`,
      );
    this.#now = now;
  }
}
