import { type Hash, merge } from './config-file.ts';

const maxLevels = 10;

/** Replaces every `extends` by what it names. Returns the merged jobs, or the errors in GitLab's words. */
export const resolveExtends = (entries: Record<string, Hash>): { jobs: Record<string, Hash>; errors: string[] } => {
  const done = new Map<string, Hash>();
  const errors: string[] = [];
  const resolve = (name: string, chain: readonly string[]): Hash => {
    const finished = done.get(name);
    if (finished !== undefined) return finished;
    const own = entries[name] as Hash;
    if (!Object.hasOwn(own, 'extends')) return own;
    const listed = own.extends;
    const parents = (Array.isArray(listed) ? listed : [listed]) as unknown[];
    const rest: Hash = { ...own };
    delete rest.extends;
    let merged: Hash = {};
    for (const parent of parents) {
      if (typeof parent !== 'string' || parents.length > 11) {
        errors.push(`${name}: extends should be a string or a list of up to 11 strings`);
        return rest;
      }
      if (chain.includes(parent)) {
        errors.push(`${name}: circular dependency detected in \`extends\``);
        return rest;
      }
      if (!Object.hasOwn(entries, parent)) {
        errors.push(`${name}: unknown keys in \`extends\` (${parent})`);
        return rest;
      }
      if (chain.length > maxLevels) {
        errors.push(`${name}: nesting too deep in \`extends\``);
        return rest;
      }
      merged = merge(merged, resolve(parent, [...chain, parent]));
    }
    const whole = merge(merged, rest);
    done.set(name, whole);
    return whole;
  };
  const jobs: Record<string, Hash> = {};
  for (const name of Object.keys(entries)) jobs[name] = resolve(name, [name]);
  return { jobs, errors: [...new Set(errors)] };
};
