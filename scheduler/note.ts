import type { Effect, EffectOf } from './effects.ts';

type NoteGiven = Omit<EffectOf<'note'>, 'kind' | 'level' | 'fields'> &
  Partial<Pick<EffectOf<'note'>, 'level' | 'fields'>>;

/** A line for agent.log and for who watches: the stable name of an event, its sentence, `info` unless it says more. */
export function note(
  { effects }: { readonly effects: Effect[] },
  { event, because, level = 'info', fields = {} }: NoteGiven,
): void {
  effects.push({ kind: 'note', event, because, level, fields });
}
