import { isAlias, isMap, isScalar, isSeq, LineCounter, type ParsedNode, parseDocument } from 'yaml';
import { AutogitError } from '../../protocol/errors.ts';

/** What stands in autogit.yml, each part with its line. */
export type Tree = { readonly line: number } & (
  | { readonly kind: 'empty' }
  | { readonly kind: 'scalar'; readonly text: string }
  | { readonly kind: 'list'; readonly items: readonly Tree[] }
  | { readonly kind: 'map'; readonly entries: readonly TreeEntry[] }
);
export interface TreeEntry {
  readonly key: string;
  readonly line: number;
  readonly value: Tree;
}

/** Deeper than any setting lies. */
const deepest = 12;

/** Throws `bad-config` with the file, the line and what is wrong. */
export function settingsTree(file: string, text: string): Tree {
  const counter = new LineCounter();
  // Keys that stand twice are found here, where both lines can be named.
  const document = parseDocument(text, { lineCounter: counter, uniqueKeys: false, logLevel: 'error' });
  const [error] = [...document.errors, ...document.warnings];
  if (error) throw noYaml(file, counter.linePos(error.pos[0]).line, error.code, error.message);
  if (document.contents === null) return { kind: 'empty', line: 1 };
  return new TreeReader(file, counter).read(document.contents, 0);
}

const refused = (file: string, line: number, sentence: string, hint?: string): AutogitError =>
  new AutogitError('bad-config', `${file}, line ${line}: ${sentence}`, hint === undefined ? {} : { hint });

function noYaml(file: string, line: number, code: string, message: string): AutogitError {
  const hints: Readonly<Record<string, string>> = {
    TAB_AS_INDENT: 'indent with spaces',
    MULTIPLE_DOCS: 'leave the line --- away: settings are one document',
    TAG_RESOLVE_FAILED: 'leave the tag (!…) away; put a text that begins with ! in quotes',
    MULTILINE_IMPLICIT_KEY: 'a setting is "key: value", with a space behind the colon',
  };
  if (code === 'RESOURCE_EXHAUSTION') return refused(file, line, 'is nested too deeply');
  const said = (message.split('\n')[0] ?? '').replace(/ at line \d+, column \d+:?$/, '');
  const sentence = code === 'MULTIPLE_DOCS' ? 'a second document begins here' : said;
  return refused(file, line, `this is no YAML: ${sentence}`, hints[code]);
}

class TreeReader {
  readonly #file: string;
  readonly #counter: LineCounter;
  constructor(file: string, counter: LineCounter) {
    this.#file = file;
    this.#counter = counter;
  }

  read(node: ParsedNode, depth: number): Tree {
    const line = this.#lineOf(node);
    if (depth > deepest) throw refused(this.#file, line, 'is nested too deeply');
    // A few lines of them can stand for gigabytes.
    if (isAlias(node))
      throw refused(this.#file, line, `*${node.source} is not followed here`, 'write the value itself');
    if (isSeq(node))
      return { kind: 'list', line, items: node.items.map((item) => this.read(item as ParsedNode, depth + 1)) };
    if (isMap(node)) return { kind: 'map', line, entries: this.#entries(node.items as Pair[], depth) };
    if (!isScalar(node) || node.value === null) return { kind: 'empty', line };
    // A label 1.10 is no label 1.1.
    const isFigure = typeof node.value === 'number' && typeof node.source === 'string';
    return { kind: 'scalar', line, text: isFigure ? (node.source as string) : String(node.value) };
  }

  #entries(pairs: readonly Pair[], depth: number): TreeEntry[] {
    const seen = new Map<string, number>();
    return pairs.map(({ key, value }) => {
      const line = this.#lineOf(key);
      if (!isScalar(key) || key.value === null) throw refused(this.#file, line, 'a key is a word: "key: value"');
      const name = String(key.value);
      const before = seen.get(name);
      if (before !== undefined)
        throw refused(this.#file, line, `"${name}" stands here again, after line ${before}`, 'leave one of them away');
      seen.set(name, line);
      return { key: name, line, value: value === null ? { kind: 'empty', line } : this.read(value, depth + 1) };
    });
  }

  #lineOf(node: ParsedNode): number {
    return this.#counter.linePos(node.range[0]).line;
  }
}

interface Pair {
  readonly key: ParsedNode;
  readonly value: ParsedNode | null;
}
