import { shown } from '../foreign-text.ts';

interface Table {
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

const gap = '  ';

/**
 * For people: aligned columns with a head, the last one cut at `columns` characters. For a pipe: tabs, no head, nothing
 * cut. Control characters of names never reach the terminal.
 */
export function printTable(table: Table, form: { isTerminal: boolean; columns: number }): string {
  if (!form.isTerminal) return table.rows.map((row) => row.map(shown).join('\t')).join('\n');
  const lines = [table.head, ...table.rows].map((row) => row.map(shown));
  const widths = table.head.map((_, column) => Math.max(...lines.map((line) => [...(line[column] ?? '')].length)));
  return lines
    .map((line) => {
      const text = line.map((cell, column) => cell + ' '.repeat(Math.max(0, (widths[column] ?? 0) - [...cell].length)));
      return cut(text.join(gap).trimEnd(), form.columns);
    })
    .join('\n');
}

export const cut = (text: string, columns: number): string => {
  const letters = [...text];
  return letters.length <= columns ? text : `${letters.slice(0, Math.max(1, columns - 1)).join('')}…`;
};

/** `# sentence   -> command`, the fix on a line of its own where it does not fit. */
export function attentionLine(sentence: string, fix: string | null, columns = 100): string {
  const said = `# ${shown(sentence)}`;
  if (fix === null) return said;
  const command = shown(fix);
  const whole = `${said}   -> ${command}`;
  return whole.length <= columns ? whole : `${said}\n#   -> ${command}`;
}
