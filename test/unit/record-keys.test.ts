import { describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { Change } from '../../protocol/changes.ts';
import { ClassKey, classKey, own, shownClass } from '../../protocol/ids.ts';
import { Ledger } from '../../protocol/ledger.ts';
import { Envelope } from '../../protocol/messages.ts';
import { NoticeName } from '../../protocol/notices.ts';
import { Report } from '../../protocol/report.ts';
import { applyChange } from '../../scheduler/membership.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';

/** What is found in a record where nobody put it. */
const words = Object.getOwnPropertyNames(Object.prototype);

/** Keys of all records in it, wherever they stand. */
function keysIn(schema: z.ZodType, seen = new Set<unknown>()): z.ZodType[] {
  if (seen.has(schema)) return [];
  seen.add(schema);
  const def = schema._zod.def as unknown as Record<string, unknown> & { shape?: Record<string, z.ZodType> };
  const below = [def.innerType, def.element, def.valueType, ...((def.options as unknown[]) ?? [])];
  const all = [...below, ...Object.values(def.shape ?? {})].filter((one) => one !== undefined) as z.ZodType[];
  return [...(def.type === 'record' ? [def.keyType as z.ZodType] : []), ...all.flatMap((one) => keysIn(one, seen))];
}

describe('keys of records that others choose', () => {
  it.each([
    ['the ledger', Ledger],
    ['reports', Report],
    ['messages', Envelope],
    ['changes', Change],
  ])(
    '%s: none is a word of every object, but of those that are looked up by what the record itself has',
    (_, schema) => {
      const keys = keysIn(schema).filter((key) => key !== ClassKey && key !== NoticeName);
      const taken = keys.flatMap((key) => words.filter((word) => key.safeParse(word).success));
      expect(taken).toEqual([]);
    },
  );

  it('the ledger has such records: they are found', () => {
    expect(keysIn(Ledger).length).toBeGreaterThan(10);
  });

  it('a class of one tag has a key that no object has, and people read the tag', () => {
    for (const word of words) {
      const key = classKey([word]);
      expect([key in {}, shownClass(key), ClassKey.parse(key)]).toEqual([false, word, key]);
      // Beside another one it is the key that it always was.
      expect(classKey([word, 'zz'])).toBe(`${word},zz`);
    }
    expect([shownClass(''), shownClass('a,b')]).toEqual(['untagged jobs', 'a,b']);
  });

  it('a record is asked for what it has itself', () => {
    expect([own({ a: 1 }, 'a'), own({ a: 1 }, 'constructor'), own(undefined, 'a')]).toEqual([1, undefined, undefined]);
    expect(own(JSON.parse('{"constructor":1}'), 'constructor')).toBe(1);
  });
});

describe('a runner whose token a person gave, for one tag that is a word of every object', () => {
  const given = (tags: string[], token: string): Change => ({
    ...{ kind: 'connect-gitlab', url: 'http://gitlab.lan', token: null, instance: null },
    runnerTokens: [{ tags, token }],
  });
  const applied = (ledger: Ledger, change: Change): Ledger => {
    const made = applyChange(ledger, change, 1);
    if ('refused' in made) throw new Error(String(made.refused));
    return Ledger.parse(JSON.parse(JSON.stringify(made)));
  };

  it('is in the ledger, and stays there', () => {
    for (const tag of ['__proto__', 'constructor'])
      expect(Object.values(applied(foundedMesh(), given([tag], 'sealed')).classes)).toMatchObject([{ tags: [tag] }]);
  });

  it('that an earlier version wrote under that word is there still, and gets another token in the same place', () => {
    const first = applied(foundedMesh(), given(['gpu'], 'sealed'));
    const { gpu } = first.classes as Record<string, Ledger['classes'][string]>;
    const before = Ledger.parse({ ...first, classes: { constructor: { ...gpu, tags: ['constructor'] } } });
    expect(applied(before, given(['constructor'], 'another')).classes).toEqual({
      constructor: expect.objectContaining({ tags: ['constructor'], token: 'another' }),
    });
  });
});
