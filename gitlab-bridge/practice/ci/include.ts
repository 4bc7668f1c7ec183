import { z } from 'zod';
import { expand } from './ci-variables.ts';
import { type Hash, isHash, merge, readConfig } from './config-file.ts';
import { anyMatches } from './globs.ts';
import { rules, wording } from './job-schema.ts';
import { lacking } from './keywords.ts';
import type { RepositoryView } from './repository-view.ts';
import { matchingRule } from './rules.ts';

/**
 * `include`: files of this project (also by a pattern) and of other projects of the same practice GitLab, with `rules`, nested, merged below the
 * file that names them. What would leave this GitLab (`remote`, `template`, `component`, `artifact`) is refused by its name.
 */
const maxFiles = 150;
const lackingKinds = ['remote', 'template', 'component', 'artifact', 'inputs', 'integrity', 'cache'] as const;

const oneInclude = z
  .strictObject({
    local: z.string().min(1).optional(),
    project: z.string().min(1).optional(),
    file: z.union([z.string().transform((one) => [one]), z.array(z.string())]).optional(),
    ref: z.string().min(1).optional(),
    rules: rules.optional(),
  })
  .refine(
    (one) =>
      (one.local !== undefined) !== (one.project !== undefined) &&
      (one.file !== undefined) === (one.project !== undefined),
    'needs exactly one of `local`, or `project` with `file`',
  );
type OneInclude = z.infer<typeof oneInclude>;

/** Where a file lies whose includes are looked for: null is the project and commit of the pipeline. */
interface Place {
  project: string | null;
  ref: string | null;
}

class IncludeError extends Error {}

const absent = (place: Place, path: string, missing: string): string => {
  if (place.project === null) return `Local file \`${path}\` does not exist!`;
  if (missing === 'project')
    return `Project \`${place.project}\` not found or access denied! Make sure any includes in the pipeline configuration are correctly defined.`;
  if (missing === 'ref') return `Project \`${place.project}\` reference \`${place.ref}\` does not exist!`;
  return `Project \`${place.project}\` file \`${path}\` does not exist!`;
};

class Includes {
  private count = 0;
  private readonly known: Record<string, string>;
  private readonly view: RepositoryView;
  constructor(known: Record<string, string>, view: RepositoryView) {
    this.known = known;
    this.view = view;
  }

  whole(config: Hash, place: Place): Hash {
    const { include, ...own } = config;
    if (include === undefined || include === null) return own;
    let below: Hash = {};
    for (const one of [include].flat(10) as unknown[])
      for (const [path, where] of this.filesOf(this.read(one), place)) below = merge(below, this.file(path, where));
    return merge(below, own);
  }

  private read(one: unknown): OneInclude {
    if (typeof one === 'string') {
      if (/^https?:\/\//.test(one)) throw new IncludeError(lacking('include:', 'remote'));
      return { local: one };
    }
    const lacks = isHash(one) ? lackingKinds.find((kind) => Object.hasOwn(one, kind)) : undefined;
    if (lacks !== undefined) throw new IncludeError(lacking('include:', lacks));
    const found = oneInclude.safeParse(one);
    if (!found.success) throw new IncludeError(wording('include', found.error).join('\n'));
    return found.data;
  }

  private *filesOf(one: OneInclude, place: Place): Iterable<[string, Place]> {
    if (one.rules !== undefined) {
      const { rule, because } = { because: null, rule: null, ...matchingRule(one.rules, this.known, this.view) };
      if (because !== null) throw new IncludeError(`include:rules ${because}`);
      if (rule === null || rule.when === 'never') return;
    }
    const written = (text: string): string => expand(text, this.known).replace(/^\/+/, '');
    if (one.project !== undefined) {
      const ref = one.ref === undefined ? null : expand(one.ref, this.known);
      const where = { project: expand(one.project, this.known), ref };
      for (const file of one.file ?? []) yield [written(file), where];
      return;
    }
    const path = written(one.local as string);
    if (!path.includes('*')) {
      yield [path, place];
      return;
    }
    const all = this.view.ask({ kind: 'paths', ...place });
    const named = 'paths' in all ? all.paths.filter((one) => anyMatches([path], [one])) : [];
    for (const file of named) yield [file, place];
  }

  private file(path: string, place: Place): Hash {
    this.count += 1;
    if (this.count > maxFiles) throw new IncludeError(`Maximum of ${maxFiles} nested includes are allowed!`);
    if (!/\.ya?ml$/.test(path)) throw new IncludeError(`Included file \`${path}\` does not have YAML extension!`);
    const found = this.view.ask({ kind: 'file', ...place, path });
    if (!('text' in found)) throw new IncludeError(absent(place, path, 'missing' in found ? found.missing : ''));
    if (found.text.trim() === '') throw new IncludeError(`Local file \`${path}\` is empty!`);
    const read = readConfig(found.text);
    if ('errors' in read) throw new IncludeError(`\`${path}\`: ${read.errors.join('\n')}`);
    return this.whole(read.config, place);
  }
}

/** The configuration with all that it includes. May throw `Wanted`. */
export const withIncludes = (
  config: Hash,
  known: Record<string, string>,
  view: RepositoryView,
): { config: Hash } | { errors: string[] } => {
  if (!Object.hasOwn(config, 'include')) return { config };
  try {
    return { config: new Includes(known, view).whole(config, { project: null, ref: null }) };
  } catch (error) {
    if (error instanceof IncludeError) return { errors: [error.message] };
    throw error;
  }
};
