import { expect, it } from 'vitest';
import { effectTable } from '../../scheduler/effect-table.ts';

it('an answer belongs to one effect: whoever hears it knows what was asked', () => {
  const answers = Object.values(effectTable).flatMap((row): readonly string[] => row.answers);
  expect(answers).toEqual([...new Set(answers)]);
});

it('all but a write and a take may be done twice: whoever asks again does no harm (SAFETY J6)', () => {
  const once = Object.entries(effectTable).filter(([, { again }]) => !again);
  expect(once.map(([kind]) => kind)).toEqual(['persist', 'take-job']);
});
