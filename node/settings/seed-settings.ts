import { limits } from '../../protocol/limits.ts';
import { nameFromHost } from './node-name.ts';
import { fileKinds } from './notify-file.ts';
import { isPlaceholder, type SeedKey } from './seed-keys.ts';
import type { Fate, Note, ThisMachine } from './settings-note.ts';

/** A key of the seed design as it stands in the file. */
export interface SeedLeaf {
  readonly key: string;
  readonly line: number;
  readonly value: string | string[];
  readonly known: SeedKey;
}

/** The leaf from which a setting of ours comes. */
interface Obeyed {
  readonly value: string | string[];
  readonly key: string;
  readonly line: number;
}

interface Seed {
  readonly values: ReadonlyMap<string, Obeyed>;
  readonly notes: readonly Note[];
}

/** The list's item that a leaf belongs to: `runners.gpu[0]`. */
export const itemOf = (key: string): string => key.slice(0, key.lastIndexOf(']') + 1);
const lastWord = (key: string): string => key.slice(key.lastIndexOf('.') + 1);
const nodeNameOf = (text: string): string => nameFromHost(text.replaceAll('.', '-'));

/**
 * What becomes of the seed design's keys on this machine. `said` are the settings that the file says in our own words:
 * those win.
 */
export function seedSettings(leaves: readonly SeedLeaf[], said: ReadonlySet<string>, machine: ThisMachine): Seed {
  const reader = new SeedReader(said, ownItems(leaves, machine), isForHttps(leaves, said));
  // By item, because another one's host may be this machine's only by what stands beside it.
  const told = toldItems(leaves);
  for (const leaf of leaves) {
    const { fate } = leaf.known;
    if (fate === 'entry') reader.entry(leaf);
    else if (fate === 'setting') reader.setting(leaf);
    else if (fate === 'notify') reader.note(leaf, told.has(itemOf(leaf.key)) ? 'obeyed' : 'not yet');
    else reader.note(leaf, fate);
  }
  return reader;
}

/** The log is told anyway; of the others those with an address. */
function toldItems(leaves: readonly SeedLeaf[]): ReadonlySet<string> {
  const ofItem = (item: string, word: string): boolean =>
    leaves.some(
      ({ key, value }) => key.startsWith(`${item}.`) && lastWord(key) === word && !isPlaceholder(String(value)),
    );
  const types = leaves.filter(({ known }) => known.path.endsWith('notify[].type'));
  return new Set(
    types
      .filter(({ key, value }) => {
        const item = itemOf(key);
        const hasAddress = ofItem(item, 'url') || ofItem(item, 'url_env');
        return value === 'log' || (fileKinds.has(String(value)) && hasAddress);
      })
      .map(({ key }) => itemOf(key)),
  );
}

/** An address of https is one only with a certificate, which is said in our own words. */
const isForHttps = (leaves: readonly SeedLeaf[], said: ReadonlySet<string>): boolean =>
  said.has('gitlab.tlsCert') &&
  said.has('gitlab.tlsKey') &&
  leaves.some(({ known, value }) => known.kind === 'url' && /^https:/i.test(String(value)));

/** Entries that are of this machine: by an address or host name of it, or by its name in the mesh. */
function ownItems(leaves: readonly SeedLeaf[], { name, hosts }: ThisMachine): ReadonlySet<string> {
  const isOwn = ({ key, known, value }: SeedLeaf): boolean =>
    known.fate === 'entry' &&
    typeof value === 'string' &&
    ((lastWord(key) === 'name' && nodeNameOf(value) === name) ||
      (lastWord(key) === 'host' && hosts.has(value.toLowerCase().replace(/(?<=^[^:]+):\d+$|\.$/, ''))));
  return new Set(leaves.filter(isOwn).map(({ key }) => itemOf(key)));
}

class SeedReader implements Seed {
  readonly values = new Map<string, Obeyed>();
  readonly notes: Note[] = [];
  readonly #said: ReadonlySet<string>;
  readonly #own: ReadonlySet<string>;

  readonly #isHttps: boolean;

  constructor(said: ReadonlySet<string>, own: ReadonlySet<string>, isHttps: boolean) {
    this.#said = said;
    this.#own = own;
    this.#isHttps = isHttps;
  }

  note({ key, line, value, known }: SeedLeaf, fate: Fate, as?: string): void {
    const text = [value].flat().join(', ');
    this.notes.push({ key, line, text, fate, topic: known.topic, ...(as !== undefined && { as }) });
  }

  entry(leaf: SeedLeaf): void {
    const word = lastWord(leaf.key);
    const isOwn = this.#own.has(itemOf(leaf.key));
    if (word === 'host' && isPlaceholder(String(leaf.value))) this.note(leaf, 'placeholder');
    else if (word === 'host' && isOwn) this.note(leaf, 'obeyed', 'this machine');
    else if (word === 'host') this.#more(leaf, 'peers', limits.addresses);
    else if (!isOwn || word === 'gpu') this.note(leaf, 'mesh');
    else if (word === 'name') this.#first({ ...leaf, value: nodeNameOf(String(leaf.value)) }, 'name');
    else if (word === 'concurrent') this.#first(leaf, 'maxRuns');
    else if (word === 'executor') this.#more(leaf, 'executors', 2);
    else this.#more(leaf, 'labels', limits.labels);
  }

  setting(leaf: SeedLeaf): void {
    const as = leaf.known.as as string;
    if (isPlaceholder(String(leaf.value))) return this.note(leaf, 'placeholder');
    if (leaf.key === 'gitlab.ports.http' && this.#isHttps) return this.#first(leaf, 'gitlab.httpPort');
    if (leaf.key === 'gitlab.ports.https' && !this.#isHttps) return this.note(leaf, 'not yet');
    if (leaf.known.kind !== 'url') return this.#first(leaf, as);
    const { protocol, hostname, pathname } = new URL(String(leaf.value));
    const speaks = this.#isHttps ? 'https:' : 'http:';
    // At the root of a host that others reach; its port is said by itself.
    const isOwn = /^\[(?:::1?|fe[89ab][0-9a-f]:.*)\]$/.test(hostname);
    if (protocol !== speaks || pathname !== '/' || isOwn) return this.note(leaf, 'not yet');
    const name = this.#isHttps ? `https://${hostname}` : hostname;
    if (this.values.get(as)?.value !== hostname) return this.#first({ ...leaf, value: name }, as);
    this.values.set(as, { ...leaf, value: name });
    this.note(leaf, 'obeyed', as);
  }

  #first(leaf: SeedLeaf, as: string): void {
    if (this.#said.has(as) || this.values.has(as)) return this.note(leaf, 'overruled', as);
    this.values.set(as, leaf);
    this.note(leaf, 'obeyed', ...(as === leaf.key ? [] : [as]));
  }

  /** Lists of several entries are one; what is more than a setting may hold is left to the mesh. */
  #more(leaf: SeedLeaf, as: string, most: number): void {
    if (this.#said.has(as)) return this.note(leaf, 'overruled', as);
    const { value, key, line } = this.values.get(as) ?? leaf;
    const all = [...new Set([value, leaf.value].flat())];
    if (as === 'peers' && all.length > most) return this.note(leaf, 'mesh');
    this.values.set(as, { value: all, key, line });
    this.note(leaf, 'obeyed', as);
  }
}
