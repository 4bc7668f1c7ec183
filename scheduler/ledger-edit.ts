import { asSentence } from '../protocol/ids.ts';
import type { Act, Ledger } from '../protocol/ledger.ts';
import { limits } from '../protocol/limits.ts';

/** A refusal is a value with a reason that a user can read. */
export interface Refusal {
  refused: string;
}

/**
 * A pure change of the ledger, applied by the leader to its newest document. `because` goes to the log. It returns the
 * same object when there is nothing to change, which proposes nothing.
 */
export interface LedgerEdit {
  name: string;
  because: string;
  apply(ledger: Ledger): Ledger | Refusal;
}

export const isRefusal = (value: Ledger | Refusal): value is Refusal => 'refused' in value;

/** The last acts that everybody should see, with one more. */
export const actsWith = ({ acts = [] }: Ledger, kind: Act['kind'], sentence: string, at: number): Act[] =>
  [...acts, { kind, at, sentence: asSentence(sentence) }].slice(-limits.acts);
