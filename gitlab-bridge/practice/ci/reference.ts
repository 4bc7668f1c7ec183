import { type Hash, isHash, Reference } from './config-file.ts';

const maxLevels = 10;
/** Of all that is put in, references and what they name: lists of references to lists grow fast. */
const maxResolved = 100_000;

/** Puts in the place of each `!reference [job, key, …]` what it names; the errors are GitLab's. */
export const resolveReferences = (config: Hash): { config: Hash; errors: string[] } => {
  const errors: string[] = [];
  let count = 0;
  const wrong = (reference: Reference, because: string): null => {
    errors.push(`!reference ${JSON.stringify(reference.path)} ${because}`);
    return null;
  };
  const found = (reference: Reference): unknown => {
    let at: unknown = config;
    for (const step of reference.path) {
      if (!isHash(at) || typeof step !== 'string' || !Object.hasOwn(at, step)) return undefined;
      at = at[step];
    }
    return at;
  };
  const resolved = (value: unknown, chain: readonly Reference[]): unknown => {
    if (chain.length > 0) count += 1;
    if (value instanceof Reference) {
      if (value.path.length === 0) return wrong(value, 'is not valid');
      if (chain.some((one) => JSON.stringify(one.path) === JSON.stringify(value.path)))
        return wrong(value, 'is part of a circular chain');
      if (chain.length >= maxLevels) return wrong(value, 'is nested more than 10 levels deep');
      count += 1;
      if (count > maxResolved) return wrong(value, 'is one of too many');
      const target = found(value);
      return target === undefined ? wrong(value, 'could not be found') : resolved(target, [...chain, value]);
    }
    if (Array.isArray(value)) return (value as unknown[]).map((one) => resolved(one, chain));
    if (!isHash(value)) return value;
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, resolved(one, chain)]));
  };
  const whole = resolved(config, []) as Hash;
  return { config: whole, errors: [...new Set(errors)] };
};
