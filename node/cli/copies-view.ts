import { shown } from '../foreign-text.ts';
import { wrapped } from '../text-wrap.ts';
import { printTable } from './table.ts';

const head = ['MACHINE', 'STATE', 'ROUND', 'AGE', 'WHY'];

/** Who holds copies. Why is never cut: where a terminal is too narrow for it, it stands below, a line or more for each machine. */
export function copiesView(rows: readonly string[][], form: { isTerminal: boolean; columns: number }): string {
  const whole = printTable({ head, rows }, { ...form, columns: Number.POSITIVE_INFINITY });
  if (!form.isTerminal || whole.split('\n').every((line) => [...line].length <= form.columns)) return whole;
  const narrow = { head: head.slice(0, -1), rows: rows.map((row) => row.slice(0, -1)), spare: ['ROUND'] };
  const why = rows.flatMap((row) => wrapped(`${shown(row[0] ?? '')}: ${shown(row.at(-1) ?? '')}`, form.columns));
  return `${printTable(narrow, form)}\n\n${why.join('\n')}`;
}
