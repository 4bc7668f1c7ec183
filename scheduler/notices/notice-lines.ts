import { own } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { Attention } from '../../protocol/status.ts';

/** Who is not told what was meant for them. */
export const noticeLines = ({ notices }: Ledger): Attention[] =>
  Object.entries(notices?.memory?.failing ?? {}).flatMap(([name, { because }]) => {
    const target = own(notices?.targets, name);
    if (target === undefined) return [];
    const never = own(notices?.memory?.heard, name) === undefined ? ', and never could be' : '';
    const sentence = `${name} cannot be told what is wrong (${target.kind}, ${target.shown})${never}: ${because}`;
    return [{ code: 'notice-failing', severity: 'warn', sentence, fix: `autogit-node notify test ${name}` }];
  });
