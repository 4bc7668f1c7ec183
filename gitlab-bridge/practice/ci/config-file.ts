import { parseDocument } from 'yaml';

export type Hash = Record<string, unknown>;
export const isHash = (value: unknown): value is Hash =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

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

/** Reads the YAML text: anchors and merge keys are resolved, tags (`!reference`) are refused by name. */
export const readConfig = (text: string): { config: Hash } | { errors: string[] } => {
  if (Buffer.byteLength(text) > maxConfigBytes) return { errors: ['The YAML file is larger than 1 MiB'] };
  try {
    const document = parseDocument(text, { merge: true, uniqueKeys: false, logLevel: 'error', stringKeys: true });
    const tag = document.warnings.map((warning) => /tag: (![^\s]*)/.exec(warning.message)?.[1]).find(Boolean);
    if (tag !== undefined) return { errors: [`${tag} is a tag that the practice GitLab lacks`] };
    const wrong = document.errors[0];
    if (wrong !== undefined) return { errors: [`Invalid configuration format: ${wrong.message.split('\n')[0]}`] };
    const config: unknown = document.toJS({ maxAliasCount: 1000 });
    if (!isHash(config)) return { errors: ['Invalid configuration format'] };
    if (!isSound(config)) return { errors: ['The parsed YAML is too deep, or has a key __proto__'] };
    return { config };
  } catch (error) {
    return { errors: [`Invalid configuration format: ${error instanceof Error ? error.message : 'unreadable'}`] };
  }
};
