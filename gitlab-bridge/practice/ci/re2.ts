import { RE2JS, RE2JSException } from 're2js';

/** Patterns as GitLab runs them: by RE2, so without look-around and back-references, and in linear time. */
export interface Pattern {
  matches(text: string): boolean;
  /** Of each match its groups, or the whole where it has none. */
  scan(text: string): string[][];
}

/** Null: RE2 knows no such pattern. `flags`: of i, m, s and U. */
export const pattern = (source: string, flags: string): Pattern | null => {
  let compiled: RE2JS;
  try {
    compiled = RE2JS.compile(flags === '' ? source : `(?${flags})${source}`);
  } catch (error) {
    if (error instanceof RE2JSException) return null;
    throw error;
  }
  return {
    matches: (text) => compiled.matcher(text).find(),
    scan: (text) => {
      const matcher = compiled.matcher(text);
      const found: string[][] = [];
      while (matcher.find()) {
        const groups = Array.from({ length: matcher.groupCount() }, (_, index) => matcher.group(index + 1) ?? '');
        found.push(groups.length > 0 ? groups : [matcher.group() ?? '']);
      }
      return found;
    },
  };
};

/** A pattern as it is written, `/…/` with flags; null where it is none, or not RE2's. */
export const writtenPattern = (text: string): Pattern | null => {
  const written = /^\/(.*)\/([ismU]*)$/s.exec(text);
  return written === null ? null : pattern(written[1] as string, written[2] as string);
};
