import { shown } from '../foreign-text.ts';
import { wrapped, wrappedFix } from '../text-wrap.ts';

interface Table {
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** Heads of columns that a narrow terminal does without, the least needed first. */
  readonly spare?: readonly string[];
  /** The last column may be cut to so many characters before a spare one goes. */
  readonly lastLeast?: number;
}

const gap = '  ';
const usualLeast = 16;

/**
 * For people: aligned columns with a head, spare ones left out where they do not fit into `columns` characters, the last one
 * cut. For a pipe: tabs, no head, nothing cut. Control characters of names never reach the terminal.
 */
export function printTable(table: Table, form: { isTerminal: boolean; columns: number }): string {
  if (!form.isTerminal) return table.rows.map((row) => row.map(shown).join('\t')).join('\n');
  const lines = [table.head, ...table.rows].map((row) => row.map(shown));
  const widths = widthsOf(table.head, lines.slice(1));
  const kept = keptColumns(table, widths, form.columns);
  return lines
    .map((line) => {
      const text = kept.map((column) => {
        const cell = line[column] ?? '';
        return cell + ' '.repeat(Math.max(0, (widths[column] ?? 0) - [...cell].length));
      });
      return cut(text.join(gap).trimEnd(), form.columns);
    })
    .join('\n');
}

/**
 * A table whose last column is a sentence, which is never cut: where a terminal is too narrow for all of it, it stands below its row, in as
 * many lines as it takes.
 */
export function printTold({ head, rows, spare }: Table, form: { isTerminal: boolean; columns: number }): string {
  const whole = printTable({ head, rows }, { ...form, columns: Number.POSITIVE_INFINITY });
  if (!form.isTerminal || whole.split('\n').every((line) => [...line].length <= form.columns)) return whole;
  const first = { head: head.slice(0, -1), rows: rows.map((row) => row.slice(0, -1)), ...(spare && { spare }) };
  const [title = '', ...lines] = printTable(first, form).split('\n');
  const below = (row: readonly string[]): string[] =>
    wrapped(shown(row.at(-1) ?? ''), form.columns - gap.length).map((line) => `${gap}${line}`.trimEnd());
  return [title, ...lines.flatMap((line, index) => [line, ...below(rows[index] ?? [])])]
    .filter((line) => line !== '')
    .join('\n');
}

/** All columns for people, in as many tables below each other as it takes; each begins with the first column. */
export function printTables({ head, rows }: Pick<Table, 'head' | 'rows'>, columns: number): string {
  const widths = widthsOf(
    head,
    rows.map((row) => row.map(shown)),
  );
  const groups: number[][] = [];
  let used = Number.POSITIVE_INFINITY;
  for (const column of head.keys()) {
    const width = gap.length + (widths[column] ?? 0);
    if (column > 0 && used + width > columns) {
      groups.push([0]);
      used = widths[0] ?? 0;
    }
    if (column === 0) continue;
    groups.at(-1)?.push(column);
    used += width;
  }
  const of = (cells: readonly string[], group: readonly number[]): string[] => group.map((one) => cells[one] ?? '');
  return groups
    .map((group) => ({ head: of(head, group), rows: rows.map((row) => of(row, group)) }))
    .map((table) => printTable(table, { isTerminal: true, columns: Number.POSITIVE_INFINITY }))
    .join('\n\n');
}

const widthsOf = (head: readonly string[], rows: readonly (readonly string[])[]): number[] =>
  head.map((_, column) => Math.max(...[head, ...rows].map((row) => [...(row[column] ?? '')].length)));

function keptColumns(
  { head, spare = [], lastLeast = usualLeast }: Table,
  widths: readonly number[],
  columns: number,
): number[] {
  let kept = head.map((_, column) => column);
  const width = (): number => {
    const last = kept.at(-1) ?? 0;
    const wanted = kept.map((column) =>
      column === last ? Math.min(lastLeast, widths[column] ?? 0) : (widths[column] ?? 0),
    );
    return wanted.reduce((sum, one) => sum + one, gap.length * (kept.length - 1));
  };
  for (const name of spare) {
    if (width() <= columns) break;
    kept = kept.filter((column) => head[column] !== name);
  }
  return kept;
}

export const cut = (text: string, columns: number): string => {
  const letters = [...text];
  return letters.length <= columns ? text : `${letters.slice(0, Math.max(1, columns - 1)).join('')}…`;
};

/** `# sentence   -> command`, the fix on a line of its own where it does not fit: words are wrapped, a command never. */
export function attentionLine(sentence: string, fix: string | null, columns = 100): string {
  const text = shown(sentence);
  const whole = fix === null ? `# ${text}` : `# ${text}   -> ${shown(fix)}`;
  if (whole.length <= columns) return whole;
  // A row with a name before it keeps its gap, which wrapping takes for a word of nothing.
  const said = `# ${wrapped(text, columns - 4).join('\n#   ')}`;
  return fix === null ? said : `${said}\n#   -> ${wrappedFix(shown(fix), columns - 7).join('\n#      ')}`;
}
