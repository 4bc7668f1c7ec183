import { closeSync, copyFileSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { sentenceOf } from '../../protocol/errors.ts';
import type { Log } from '../log.ts';

const mostChars = 512;
const Name = z.string().max(mostChars);
const Project = z.string().max(mostChars);
/** An entry is small, and so many projects share an image only where it should need no login. */
const most = { names: 64, projects: 1000, images: 10_000 } as const;

const Entry = z.looseObject({
  /** As the engine shows them: the names by which jobs pulled it. */
  names: z.array(Name).max(most.names),
  usedAt: z.number(),
  /** It came by a job's pull and under a name that was free: it may be removed again. */
  isOurs: z.boolean(),
  /** Its registry gave it only to a login: the projects that were let in. Null: to everybody. */
  projects: z.array(Project).max(most.projects).nullable(),
});
type Entry = z.infer<typeof Entry>;

const Records = z.looseObject({
  v: z.literal(1),
  images: z.record(z.string().max(256), Entry),
  /** Names that are being pulled with a login, for whom; still there after a crash, when nobody knows what came of it. */
  pulling: z.record(Name, z.array(Project).max(most.projects)),
});

interface Pull {
  id: string;
  name: string;
  project: string;
  hasLogin: boolean;
  /** The engine had this image before, whatever its name. */
  wasHere: boolean;
  /** What had the name before. */
  before: string | null;
}

/** ms: a use is written down no more often. */
const useEveryMs = 60_000;

/** As the engine shows a name: `docker.io/library/alpine` is `alpine:latest`. */
export function familiarName(name: string): string {
  const short = name.replace(/^(?:index\.)?docker\.io\//, '').replace(/^library\/(?=[^/]+$)/, '');
  if (short.includes('@')) return short.replace(/:[^/:@]*(?=@)/, '');
  return /:[^/]*$/.test(short) ? short : `${short}:latest`;
}

/**
 * Which images of the engine jobs brought, when they were used last, and whom their registry let in (security A16). What
 * does not stand here is the owner's: it is never removed, and every job may use it. In `images.json` of the home.
 */
export class ImageRecords {
  readonly #file: string | null;
  readonly #log: Pick<Log, 'warn'>;
  readonly #now: () => number;
  readonly #records: z.infer<typeof Records>;
  #isFailing = false;
  /** Pulls that no agent saw the end of. */
  readonly #torn: Map<string, string[]>;

  constructor(home: string | null, log: Pick<Log, 'warn'>, now: () => number) {
    this.#file = home === null ? null : join(home, 'images.json');
    this.#log = log;
    this.#now = now;
    this.#records = this.#read();
    this.#torn = new Map(Object.entries(this.#records.pulling));
  }

  /** `own`: the project was given it, or it needs no login. `ask`: another project's login brought it. */
  rightOf(id: string, name: string, project: string): 'own' | 'ask' {
    const entry = this.#records.images[id];
    if (entry !== undefined) return entry.projects === null || entry.projects.includes(project) ? 'own' : 'ask';
    const pullers = this.#records.pulling[familiarName(name)] ?? [];
    return pullers.every((puller) => puller === project) ? 'own' : 'ask';
  }

  /** Before a pull with a login: an agent that dies meanwhile must not take what it left for the owner's. */
  begin(name: string, project: string): void {
    const { pulling } = this.#records;
    const short = familiarName(name);
    // The engine will not have it either; what is written here must be readable again.
    if (short.length > mostChars || project.length > mostChars) return;
    pulling[short] = [...(pulling[short] ?? []), project].slice(-most.projects);
    this.#write(false);
  }

  /** The pull brought nothing. What another one left, which was never ended, stays as it was. */
  failed(name: string, project: string): void {
    this.#ended(familiarName(name), project);
    this.#write(false);
  }

  pulled({ id, name, project, hasLogin, wasHere, before }: Pull): void {
    const { images, pulling } = this.#records;
    const short = familiarName(name);
    if (hasLogin) this.#ended(short, project);
    // Of an agent that died: it may be what was here before this pull.
    const torn = this.#torn.get(short);
    if (torn !== undefined) delete pulling[short];
    this.#torn.delete(short);
    const entry = images[id];
    if (entry !== undefined) {
      entry.usedAt = this.#now();
      if (!entry.names.includes(short)) entry.names = [...entry.names, short].slice(-most.names);
      letIn(entry, project, hasLogin);
    } else if (torn !== undefined) {
      const projects = hasLogin ? [...new Set([...torn, project])] : null;
      images[id] = { names: [short], usedAt: this.#now(), isOurs: false, projects };
    } else if (!wasHere && Object.keys(images).length < most.images) {
      // A name that was the owner's goes on being it: without its image it would lead nowhere.
      const isOurs = before === null || images[before]?.isOurs === true;
      images[id] = { names: [short], usedAt: this.#now(), isOurs, projects: hasLogin ? [project] : null };
    }
    this.#write(entry === undefined && !wasHere);
  }

  /** The registry let this project in, too. */
  allow(id: string, project: string, hasLogin: boolean): void {
    const entry = this.#records.images[id];
    if (entry === undefined) return;
    letIn(entry, project, hasLogin);
    this.#write(false);
  }

  used(id: string): void {
    const entry = this.#records.images[id];
    if (entry === undefined) return;
    const isNews = this.#now() - entry.usedAt >= useEveryMs;
    entry.usedAt = this.#now();
    if (isNews) this.#write(false);
  }

  /** Those that may be removed, the longest unused first. */
  removable(): { id: string; names: readonly string[]; usedAt: number }[] {
    return Object.entries(this.#records.images)
      .filter(([, { isOurs }]) => isOurs)
      .map(([id, { names, usedAt }]) => ({ id, names, usedAt }))
      .sort((a, b) => a.usedAt - b.usedAt);
  }

  /** Its owner has made it his own, by another name for example. */
  keep(id: string): void {
    const entry = this.#records.images[id];
    if (entry) entry.isOurs = false;
    this.#write(false);
  }

  get isEmpty(): boolean {
    return Object.keys(this.#records.images).length === 0;
  }

  /** Forgets what the engine has no more, whoever removed it; but not what a pull brings while the engine is asked. */
  async forgetMissing(ask: () => Promise<ReadonlySet<string>>): Promise<void> {
    const known = Object.entries(this.#records.images).map(([id, { usedAt }]) => ({ id, usedAt }));
    const here = await ask();
    const gone = known.filter(({ id, usedAt }) => !here.has(id) && this.#records.images[id]?.usedAt === usedAt);
    for (const { id } of gone) delete this.#records.images[id];
    if (gone.length > 0) this.#write(false);
  }

  /** One pull for this project, of those that may go on at the same time. */
  #ended(short: string, project: string): void {
    const { pulling } = this.#records;
    const left = [...(pulling[short] ?? [])];
    const at = left.lastIndexOf(project);
    if (at >= 0) left.splice(at, 1);
    if (left.length > 0) pulling[short] = left;
    else delete pulling[short];
  }

  #read(): z.infer<typeof Records> {
    const none = { v: 1 as const, images: {}, pulling: {} };
    if (this.#file === null) return none;
    try {
      const { records, damaged } = readRecords(JSON.parse(readFileSync(this.#file, 'utf8')), this.#now());
      if (damaged > 0)
        this.#log.warn(
          `${damaged} entries of ${this.#file} cannot be read: a job gets their images only where its registry lets it in`,
        );
      return records;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') this.#putAside();
      return none;
    }
  }

  /** What is damaged is kept for whoever wants to mend it: the next write would be over it. */
  #putAside(): void {
    const aside = `${this.#file}.damaged`;
    try {
      if (this.#file !== null) copyFileSync(this.#file, aside);
    } catch {
      // It is no file, or there is no room: the sentence is what counts.
    }
    this.#log.warn(
      `${this.#file} cannot be read: images that jobs pulled count as this machine's own, and every job may use them (it is kept as ${aside}); take away what must stay private: docker image rm IMAGE`,
    );
  }

  /** Atomic. What cannot be written now (a full disk) is in memory, and written with the next change. */
  #write(isSynced: boolean): void {
    if (this.#file === null) return;
    const draft = `${this.#file}.new`;
    try {
      const file = openSync(draft, 'w', 0o600);
      try {
        // All of it or an error: one write of a nearly full disk takes the first part and says nothing.
        writeFileSync(file, JSON.stringify(this.#records));
        if (isSynced) fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(draft, this.#file);
      this.#isFailing = false;
    } catch (error) {
      if (!this.#isFailing) this.#log.warn(`${this.#file} cannot be written: ${sentenceOf(error)}`);
      this.#isFailing = true;
    }
  }
}

/**
 * Entry by entry. One that is damaged costs the others nothing, and its image is given only to whom its registry lets in.
 * Throws when it is not of the form at all.
 */
function readRecords(value: unknown, now: number): { records: z.infer<typeof Records>; damaged: number } {
  const whole = z.looseObject({ v: z.literal(1), images: z.record(z.string(), z.unknown()) }).parse(value);
  let damaged = 0;
  const orElse = <T>(parsed: z.ZodSafeParseResult<T>, other: T): T => {
    if (parsed.success) return parsed.data;
    damaged++;
    return other;
  };
  const images = Object.entries(whole.images).map(([id, entry]) => [
    id.slice(0, 256),
    orElse<Entry>(Entry.safeParse(entry), { names: [], usedAt: now, isOurs: false, projects: [] }),
  ]);
  const named = Object.entries(z.record(z.string(), z.unknown()).catch({}).parse(whole.pulling));
  const pulling = named.map(([name, projects]) => [
    name.slice(0, mostChars),
    // No project has this name.
    orElse(z.array(Project).max(most.projects).safeParse(projects), ['']),
  ]);
  const records = { ...whole, images: Object.fromEntries(images), pulling: Object.fromEntries(pulling) };
  return { records: Records.parse(records), damaged };
}

function letIn(entry: Entry, project: string, hasLogin: boolean): void {
  if (!hasLogin) entry.projects = null;
  if (entry.projects !== null && !entry.projects.includes(project))
    entry.projects = [...entry.projects, project].slice(-most.projects);
}
