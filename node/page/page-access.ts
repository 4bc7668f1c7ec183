import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync, renameSync } from 'node:fs';
import { z } from 'zod';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { replaceFileNow } from '../hosting/replace-file-now.ts';
import { pageLimits } from './page-limits.ts';
import { type Caller, type Role, roles } from './page-types.ts';

const hash = z.string().regex(/^[\w-]{43}$/);
const role = z.enum(roles);
const KeyName = z.string().regex(pageLimits.keyName);

/** Of what opens the door only hashes are kept: who reads the file cannot come in by it. */
const Kept = z.object({
  version: z.literal(1),
  keys: z.array(z.object({ name: KeyName, role, hash, madeAt: z.number() })).max(pageLimits.keys),
  sessions: z
    .array(z.object({ name: KeyName, role, id: hash, hash, madeAt: z.number(), until: z.number() }))
    .max(pageLimits.sessions),
  /** The number that was given last: who was let in once is no other one's name in `audit` and the log. Absent of an earlier version. */
  given: z.object({ page: z.int().nonnegative(), key: z.int().nonnegative() }).optional(),
});
type Kept = z.infer<typeof Kept>;

/** What is shown of one that may come in. Times are wall ms. */
interface AccessRow {
  name: string;
  kind: 'session' | 'key';
  role: Role;
  madeAt: number;
  until: number | null;
  /** Since the agent began. */
  usedAt: number | null;
}

interface AccessOptions {
  /** 0600. */
  file: string;
  wallMs(): number;
  /** One that was let in may no more: its streams are to end. */
  onEnd(name: string): void;
  warn(sentence: string): void;
}

const digest = (secret: string): string => createHash('sha256').update(secret).digest('base64url');
const secretOf = (bytes: number): string => randomBytes(bytes).toString('base64url');
const isSame = (a: string, b: string): boolean => timingSafeEqual(Buffer.from(a), Buffer.from(b));

/** Who may come in: one-time links, the sessions that they become, and keys for programs. They outlive the agent, links do not. */
export class PageAccess {
  readonly #options: AccessOptions;
  readonly #links = new Map<string, { role: Role; forMs: number; until: number }>();
  readonly #usedAt = new Map<string, number>();
  #kept: Kept;

  constructor(options: AccessOptions) {
    this.#options = options;
    this.#kept = this.#read();
  }

  /** A link that lets one browser in, once, for `forMs`. */
  link(role: Role, forMs: number): { code: string; goodUntil: number } {
    const now = this.#options.wallMs();
    for (const [code, { until }] of this.#links)
      if (until <= now || this.#links.size >= pageLimits.links) this.#links.delete(code);
    const code = secretOf(32);
    const goodUntil = now + pageLimits.linkMs;
    this.#links.set(digest(code), { role, forMs, until: goodUntil });
    return { code, goodUntil };
  }

  /** Null: no such link, or it was used, or is too old. `id` is the session's place, `secret` its cookie: both are needed. */
  enter(code: string): { id: string; secret: string; forMs: number; caller: Caller } | null {
    const link = this.#links.get(digest(code));
    const now = this.#options.wallMs();
    if (link === undefined || link.until <= now) return null;
    const [id, secret] = [secretOf(16), secretOf(32)];
    const { name, given } = this.#newName('page');
    const session = {
      name,
      role: link.role,
      id: digest(id),
      hash: digest(secret),
      madeAt: now,
      until: now + link.forMs,
    };
    const sessions = this.#kept.sessions.filter(({ until }) => until > now);
    // The oldest gives way: whoever may make links may also end sessions.
    for (const old of sessions.slice(0, Math.max(0, sessions.length + 1 - pageLimits.sessions)))
      this.#options.onEnd(old.name);
    this.#keep({ ...this.#kept, sessions: [...sessions, session].slice(-pageLimits.sessions), given });
    // Where it cannot be written down the link is as good as before.
    this.#links.delete(digest(code));
    return { id, secret, forMs: link.forMs, caller: { kind: 'session', name, role: link.role, until: session.until } };
  }

  /** By its place in the address and any of the cookies that came with it. */
  session(id: string, secrets: readonly string[]): Caller | null {
    const [place, now] = [digest(id), this.#options.wallMs()];
    const found = this.#kept.sessions.find((one) => isSame(one.id, place));
    if (found === undefined || found.until <= now) return null;
    if (!secrets.slice(0, 8).some((secret) => isSame(digest(secret), found.hash))) return null;
    this.#usedAt.set(found.name, now);
    return { kind: 'session', name: found.name, role: found.role, until: found.until };
  }

  key(secret: string): Caller | null {
    const known = digest(secret);
    const found = this.#kept.keys.find((one) => isSame(one.hash, known));
    if (found === undefined) return null;
    this.#usedAt.set(found.name, this.#options.wallMs());
    return { kind: 'key', name: found.name, role: found.role, until: null };
  }

  /** Shown once. Throws `unsupported`. */
  makeKey(role: Role, wanted: string | null): { key: string; name: string } {
    const { keys } = this.#kept;
    const { name, given } = wanted === null ? this.#newName('key') : { name: wanted, given: this.#kept.given };
    if (this.#rows().some((row) => row.name === name))
      throw new AutogitError('unsupported', `there is a key or session called ${name}`, {
        hint: `choose another name, or remove it: autogit-node dashboard key-remove ${name}`,
      });
    if (keys.length >= pageLimits.keys)
      throw new AutogitError('unsupported', `there are ${keys.length} keys, and more are not kept`, {
        hint: 'see which are used no more: autogit-node dashboard keys',
      });
    const key = `agk_${secretOf(32)}`;
    const made = { name, role, hash: digest(key), madeAt: this.#options.wallMs() };
    this.#keep({ ...this.#kept, keys: [...keys, made], given });
    return { key, name };
  }

  rows(): AccessRow[] {
    const now = this.#options.wallMs();
    return this.#rows().filter(({ until }) => until === null || until > now);
  }

  /** Throws `bad-flag` where nothing is called so. */
  remove(name: string): void {
    if (!this.#rows().some((row) => row.name === name))
      throw new AutogitError('bad-flag', `no key and no session is called ${name.slice(0, 40)}`, {
        hint: 'they are listed by: autogit-node dashboard keys',
      });
    const others = <T extends { name: string }>(all: readonly T[]): T[] => all.filter((one) => one.name !== name);
    this.#keep({ ...this.#kept, keys: others(this.#kept.keys), sessions: others(this.#kept.sessions) });
    this.#usedAt.delete(name);
    this.#options.onEnd(name);
  }

  #rows(): AccessRow[] {
    const usedAt = (name: string): number | null => this.#usedAt.get(name) ?? null;
    return [
      ...this.#kept.keys.map(({ name, role, madeAt }) => ({
        ...{ name, kind: 'key' as const, role, madeAt, until: null, usedAt: usedAt(name) },
      })),
      ...this.#kept.sessions.map(({ name, role, madeAt, until }) => ({
        ...{ name, kind: 'session' as const, role, madeAt, until, usedAt: usedAt(name) },
      })),
    ];
  }

  #newName(word: 'page' | 'key'): { name: string; given: NonNullable<Kept['given']> } {
    const names = new Set(this.#rows().map(({ name }) => name));
    const given = this.#kept.given ?? { page: 0, key: 0 };
    // Of an earlier version, which counted those alone that are there.
    let number = given[word] + 1;
    while (names.has(`${word}-${number}`)) number += 1;
    return { name: `${word}-${number}`, given: { ...given, [word]: number } };
  }

  #keep(kept: Kept): void {
    replaceFileNow(this.#options.file, `${JSON.stringify(kept)}\n`);
    this.#kept = kept;
  }

  #read(): Kept {
    const none: Kept = { version: 1, keys: [], sessions: [] };
    const { file, warn } = this.#options;
    let text: string;
    try {
      text = readFileSync(file, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return none;
      throw new AutogitError('home-unwritable', `${file} cannot be read: ${sentenceOf(error)}`, {
        cause: error,
      });
    }
    try {
      return Kept.parse(JSON.parse(text));
    } catch {
      renameSync(file, `${file}.damaged`);
      warn(`${file} is damaged, and was moved to ${file}.damaged: sessions and keys of the page are gone`);
      return none;
    }
  }
}
