import { type CollectionTag, parseAllDocuments, type ScalarTag, YAMLSeq } from 'yaml';
import { psychScalar, Unloadable } from './psych.ts';

export type Hash = Record<string, unknown>;
/** `!reference [job, script]`, until all files are merged. */
export class Reference {
  readonly path: readonly unknown[];
  constructor(path: readonly unknown[]) {
    this.path = path;
  }
}
export const isHash = (value: unknown): value is Hash =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Reference);

/** GitLab's own limit of one CI file is 1 MiB and depth 100. */
const maxConfigBytes = 1_048_576;
const maxDepth = 100;

/** Not deeper than the limit, and no key that JavaScript would take for something else. */
const isSound = (value: unknown, left = maxDepth): boolean => {
  if (left === 0) return false;
  if (typeof value !== 'object' || value === null) return true;
  if (Object.hasOwn(value, '__proto__')) return false;
  return Object.values(value).every((inner) => isSound(inner, left - 1));
};

class ReferenceSeq extends YAMLSeq {
  override toJSON(arg?: unknown, context?: Parameters<YAMLSeq['toJSON']>[1]): unknown[] {
    return new Reference(super.toJSON(arg, context)) as unknown as unknown[];
  }
}

const reference: CollectionTag = {
  tag: '!reference',
  collection: 'seq',
  nodeClass: ReferenceSeq,
  resolve: (seq) => Object.assign(new ReferenceSeq(), { items: (seq as YAMLSeq).items }),
};
const asPsych = (tag: string, more: Partial<ScalarTag> = {}): ScalarTag => ({
  tag,
  resolve: (written) => psychScalar(written),
  ...more,
});
const scalars = ['int', 'float', 'bool', 'null'].map((name) => asPsych(`tag:yaml.org,2002:${name}`));

/** Reads the YAML text as GitLab does, by YAML 1.1: anchors and merge keys are resolved; tags other than `!reference` are refused by name. */
export const readConfig = (text: string): { config: Hash } | { errors: string[] } => {
  const wrong = (because: string) => ({ errors: [`Invalid configuration format: ${because}`] });
  if (Buffer.byteLength(text) > maxConfigBytes) return { errors: ['The YAML file is larger than 1 MiB'] };
  try {
    const documents = parseAllDocuments(text, {
      merge: true,
      uniqueKeys: false,
      logLevel: 'error',
      schema: 'failsafe',
      customTags: [asPsych('psych', { default: true, test: /^/ }), ...scalars, reference],
    });
    const [document] = documents;
    if (!Array.isArray(documents) || document === undefined) return { errors: ['Invalid configuration format'] };
    const failed = documents.flatMap(({ errors }) => errors)[0];
    if (failed !== undefined) return wrong((failed.message.split('\n')[0] as string).replace(/:$/, ''));
    const warnings = documents.flatMap((one) => one.warnings);
    const tag = warnings.map((warning) => /tag: (![^\s]*)/.exec(warning.message)?.[1]).find(Boolean);
    if (tag !== undefined) return { errors: [`${tag} is a tag that the practice GitLab lacks`] };
    if (documents.length > 1)
      return {
        errors: ['spec (a header before `---`) is a keyword that the practice GitLab lacks (it is not GitLab)'],
      };
    const config: unknown = document.toJS({ maxAliasCount: 1000 });
    if (!isHash(config)) return { errors: ['Invalid configuration format'] };
    if (!isSound(config)) return { errors: ['The parsed YAML is too deep, or has a key __proto__'] };
    return { config };
  } catch (error) {
    if (error instanceof Unloadable) return wrong(error.message);
    return wrong(error instanceof Error ? error.message : 'unreadable');
  }
};

/** Deep merge: hashes are merged, everything else is replaced by the later one. */
export const merge = (below: Hash, above: Hash): Hash => {
  const out: Hash = { ...below };
  for (const [key, value] of Object.entries(above)) {
    const old = out[key];
    out[key] = isHash(old) && isHash(value) ? merge(old, value) : value;
  }
  return out;
};
