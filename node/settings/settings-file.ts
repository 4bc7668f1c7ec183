import { hostname, networkInterfaces } from 'node:os';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { didYouMean } from '../../scheduler/jobs/near-word.ts';
import { nameFromHost } from './node-name.ts';
import { type People, readPeople } from './people-list.ts';
import { checkSeedValue, isPlaceholder, type SeedKey, seedKeys } from './seed-keys.ts';
import { type SeedLeaf, seedSettings } from './seed-settings.ts';
import type { Note, Place, ThisMachine } from './settings-note.ts';
import { type Flag, flags } from './settings-table.ts';
import { readSettingsText } from './settings-text.ts';
import { settingsTree, type Tree, type TreeEntry } from './settings-tree.ts';

/** Where in the file a setting stands; its key there may be one of the seed design's. */
/** What autogit.yml says: texts by the keys of our table, and what becomes of the seed design's keys. */
interface SettingsFile {
  readonly values: ReadonlyMap<string, string | string[]>;
  readonly places: ReadonlyMap<string, Place>;
  readonly notes: readonly Note[];
  readonly people: People;
}

/** Everything that may stand at one place of the file. */
interface Known {
  readonly children: Map<string, Known>;
  leaf?: { readonly flag: Flag } | { readonly seed: SeedKey } | { readonly people: 'users' | 'groups' };
}
const listMost = 1000;

function knownKeys(): Known {
  const root: Known = { children: new Map() };
  const add = (path: string, leaf: Known['leaf']): void => {
    let at = root;
    for (const part of path.replaceAll('[]', '.[]').split('.')) {
      const next = at.children.get(part) ?? { children: new Map() };
      at.children.set(part, next);
      at = next;
    }
    at.leaf = leaf;
  };
  for (const flag of flags) add(flag.key, { flag });
  for (const seed of seedKeys) add(seed.path, { seed });
  for (const people of ['users', 'groups'] as const) add(`gitlab.${people}`, { people });
  return root;
}

const allKeys = (): string[] => [...flags.map(({ key }) => key), ...seedKeys.map(({ path }) => path)];

/**
 * Reads autogit.yml: our own keys, and those of the seed design. A file that is not there is empty, unless it was named.
 * Throws `bad-config` with the file, the line, the key and what is wrong.
 */
export function readSettingsFile(file: string, isNamed: boolean, name?: string): SettingsFile {
  const text = readSettingsText(file, isNamed);
  const reader = new FileReader(file);
  if (text !== null) reader.read(settingsTree(file, text));
  const written = reader.values.get('name');
  return reader.finish(() => thisMachine(name ?? (typeof written === 'string' ? written : undefined)));
}

/** Asked only where a file has entries of machines. */
function thisMachine(name: string | undefined): ThisMachine {
  const host = hostname().toLowerCase();
  const addresses = Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address));
  return {
    name: name ?? nameFromHost(host),
    hosts: new Set([host, host.split('.')[0] as string, 'localhost', ...addresses]),
  };
}

class FileReader {
  readonly values = new Map<string, string | string[]>();
  readonly #places = new Map<string, Place>();
  readonly #notes: Note[] = [];
  readonly #leaves: SeedLeaf[] = [];
  readonly #people: { users?: Tree; groups?: Tree } = {};
  readonly #unknown: { key: string; line: number; near: string }[] = [];
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  read(tree: Tree): void {
    if (tree.kind === 'empty') return;
    if (tree.kind !== 'map') throw this.#wrong(tree.line, 'it must be a list of "key: value" lines');
    this.#map('', tree.entries, knownKeys());
    const [first, ...more] = this.#unknown;
    if (!first) return;
    const others = more.map(({ key, line, near }) => `; line ${line}: "${key}"${near}`).join('');
    throw this.#wrong(first.line, `unknown ${more.length > 0 ? 'keys' : 'key'} "${first.key}"${first.near}${others}`);
  }

  finish(machine: () => ThisMachine): SettingsFile {
    if (this.#leaves.length > 0) {
      const seed = seedSettings(this.#leaves, new Set(this.values.keys()), machine());
      for (const [key, { value, ...place }] of seed.values) {
        this.values.set(key, value);
        this.#places.set(key, { key: place.key, line: place.line });
      }
      this.#notes.push(...seed.notes);
    }
    const people = readPeople(this.#people, (line, sentence) => this.#wrong(line, sentence));
    return { values: this.values, places: this.#places, notes: this.#notes.sort((a, b) => a.line - b.line), people };
  }

  #map(prefix: string, entries: readonly TreeEntry[], known: Known): void {
    for (const { key: word, line, value } of entries) {
      const key = prefix === '' ? word : `${prefix}.${word}`;
      const child = known.children.get(word) ?? known.children.get('*');
      if (child) this.#node(key, value, child);
      else this.#unknown.push({ key, line, near: this.#near(word, known) });
    }
  }

  /** A misspelled neighbour, or a key that lies elsewhere: `hostname` is `gitlab.hostname`. */
  #near(word: string, known: Known): string {
    const near = didYouMean(word, [...known.children.keys()]);
    const elsewhere = allKeys().find((key) => key.endsWith(`.${word}`));
    return near !== '' || elsewhere === undefined ? near : `; did you mean ${elsewhere}?`;
  }

  #node(key: string, value: Tree, known: Known): void {
    if (value.kind === 'empty') return;
    if (known.leaf) return this.#leaf(key, value, known.leaf);
    const item = known.children.get('[]');
    if (item && value.kind === 'list') {
      if (value.items.length > listMost) throw this.#wrong(value.line, `${key} has more than ${listMost} items`);
      for (const [index, one] of value.items.entries()) this.#node(`${key}[${index}]`, one, item);
    } else if (!item && value.kind === 'map') this.#map(key, value.entries, known);
    else {
      const wanted = item ? `a list: lines that begin with "- ", indented` : 'a section: lines "key: value", indented';
      throw this.#wrong(value.line, `${key} must be ${wanted}`);
    }
  }

  #leaf(key: string, tree: Tree, leaf: NonNullable<Known['leaf']>): void {
    if ('people' in leaf) {
      this.#people[leaf.people] = tree;
      return;
    }
    const value = this.#textOf(key, tree);
    if ('flag' in leaf) {
      this.#places.set(key, { key, line: tree.line });
      this.values.set(key, leaf.flag.key === 'peers' ? this.#withoutPlaceholders(key, tree.line, value) : value);
      return;
    }
    const { seed: known } = leaf;
    try {
      // One that waits to be filled in is no address yet, but no mistake either.
      const mayWait = known.kind === 'host' || known.kind === 'url';
      if (!(mayWait && isPlaceholder(String(value)))) checkSeedValue(known, value);
    } catch (cause) {
      throw this.#wrong(tree.line, `${key}: ${sentenceOf(cause)}`, cause);
    }
    this.#leaves.push({ key, line: tree.line, value, known });
  }

  #withoutPlaceholders(key: string, line: number, value: string | string[]): string[] {
    const parts = [value].flat().flatMap((part) => part.split(',').map((one) => one.trim()));
    for (const text of parts.filter(isPlaceholder))
      this.#notes.push({ key, line, text, fate: 'placeholder', topic: 'machines' });
    return parts.filter((text) => !isPlaceholder(text));
  }

  #textOf(key: string, tree: Tree): string | string[] {
    if (tree.kind === 'scalar') return tree.text;
    const items = tree.kind === 'list' ? tree.items : [];
    const texts = items.flatMap((item) => (item.kind === 'scalar' ? [item.text] : []));
    if (tree.kind !== 'list' || texts.length < items.length || items.length > listMost)
      throw this.#wrong(tree.line, `${key} must be a text, a number, on or off, or a list of these`);
    return texts;
  }

  #wrong(line: number, sentence: string, cause?: unknown): AutogitError {
    return new AutogitError('bad-config', `${this.#file}, line ${line}: ${sentence}`, { cause });
  }
}
