import { existsSync, readFileSync } from 'node:fs';
import { SourceMap } from 'node:module';

/** What a stack says of the bundle: `/opt/a/dist/agent.cjs:1189:9092`, in a frame that may begin with `at e.f (` or `at async e (`. */
const frame =
  /( {4}at (?:async |new )?)?(?:(?:Object\.)?([#\w$]+)((?:\.[#\w$<>]+)*(?: \[as [^\]]+\])?) \()?((?:file:\/\/)?\/[^\s():]*\/agent\.cjs):(\d+):(\d+)/g;

interface Entry {
  generatedLine: number;
  generatedColumn: number;
  originalSource: string;
  originalLine: number;
  originalColumn: number;
  name?: string;
}

class Bundle {
  readonly #map: SourceMap;
  readonly #lines: string[];

  constructor(file: string) {
    this.#map = new SourceMap(JSON.parse(readFileSync(`${file}.map`, 'utf8')));
    this.#lines = readFileSync(file, 'utf8').split('\n');
  }

  /** Of a place that counts from 1; null where the map knows nothing. */
  placeOf(line: number, column: number): string | null {
    const entry = this.#entry(line - 1, column - 1);
    if (entry === null) return null;
    const { originalSource, originalLine, originalColumn } = entry;
    // Of other people's packages the map knows the file only.
    if (originalSource.startsWith('node_modules/')) return originalSource;
    return `${originalSource}:${originalLine + 1}:${originalColumn + 1}`;
  }

  /** What a function or class was called: the map has it where it is declared, which is before the place and nearest to it. */
  nameOf(short: string, line: number, column: number): string {
    const word = short.replace(/[$#]/g, '\\$&');
    const declared = new RegExp(
      `(?:function\\*? ?|class |(?<![.\\w$]))(?<name>${word})(?:(?<=(?:function\\*? ?|class )${word})(?![\\w$])|=(?:async ?)?(?:function|class|\\(|[\\w$]+=>))`,
      'g',
    );
    for (let at = line - 1; at >= 0; at--) {
      const text = at === line - 1 ? this.#lines[at]?.slice(0, column - 1) : this.#lines[at];
      const found = [...(text ?? '').matchAll(declared)].at(-1);
      if (!found) continue;
      const entry = this.#entry(at, found.index + found[0].indexOf(short));
      return entry?.name ?? short;
    }
    return short;
  }

  #entry(line: number, column: number): Entry | null {
    const found = this.#map.findEntry(line, column) as Partial<Entry>;
    return found.originalSource === undefined ? null : (found as Entry);
  }
}

/**
 * A stack, or a text with one in it, in the words of the sources: the bundle is minified, and its map lies beside it. It is
 * read anew each time, since faults are rare and a map is large. Without a map the text comes back as it is.
 */
export function withSourcePositions(text: string): string {
  const bundles = new Map<string, Bundle | null>();
  const bundleOf = (file: string): Bundle | null => {
    const known = bundles.get(file);
    if (known !== undefined) return known;
    const bundle = existsSync(`${file}.map`) ? new Bundle(file) : null;
    bundles.set(file, bundle);
    return bundle;
  };
  try {
    return text.replace(
      frame,
      (all: string, at = '', name: string | undefined, rest = '', file: string, ...where: string[]) => {
        const bundle = bundleOf(file.replace(/^file:\/\//, ''));
        const [line, column] = where.map(Number) as [number, number];
        const place = bundle?.placeOf(line, column) ?? null;
        if (bundle === null || place === null) return all;
        return `${at}${name === undefined ? '' : `${bundle.nameOf(name, line, column)}${rest} (`}${place}`;
      },
    );
  } catch {
    // A map that cannot be read must not hide the fault that is shown.
    return text;
  }
}

/** The stack of what was thrown, or what there is instead. */
export const stackOf = (error: unknown): string =>
  withSourcePositions(error instanceof Error ? (error.stack ?? error.message) : String(error));
