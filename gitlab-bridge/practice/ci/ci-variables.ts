/** A CI variable before it is sent: `raw` ones are never expanded (`expand: false`). */
export interface CiVariable {
  key: string;
  value: string;
  raw: boolean;
  /** Its value is the content of a file, its name then stands for the file's path: the runner's to put in. */
  file?: boolean;
  /** Absent: no secret, and anybody may see it. */
  secret?: 'hidden' | 'masked';
}

type VariableMap = Record<string, CiVariable>;

export const variable = (key: string, value: string, raw = false): CiVariable => ({ key, value, raw });

export const asMap = (list: readonly CiVariable[]): VariableMap =>
  Object.fromEntries(list.map((entry) => [entry.key, entry]));

const reference = /\$\$|%%|\$([A-Za-z_]\w*)|\$\{([A-Za-z_]\w*)\}/g;
const maxDepth = 20;
const maxLength = 65_536;
/** Of all that is put in for one text: values that name each other twice grow fast. */
const maxPutIn = 1 << 18;

/**
 * Expands `$NAME` and `${NAME}` as GitLab does before it sends a job: names it does not know stay as they are (the runner
 * knows more), `$$` stays for the shell, and a circle leaves the reference unexpanded.
 */
export const expand = (
  text: string,
  known: Record<string, string | undefined>,
  seen: readonly string[] = [],
  left = { chars: maxPutIn },
): string => {
  if (seen.length > maxDepth || !text.includes('$')) return text;
  const out = text.replace(reference, (whole: string, bare?: string, braced?: string) => {
    const name = bare ?? braced;
    if (name === undefined || seen.includes(name)) return whole;
    const value = Object.hasOwn(known, name) ? known[name] : undefined;
    if (value === undefined || left.chars <= 0) return whole;
    const put = expand(value, known, [...seen, name], left);
    left.chars -= put.length + 1;
    return put;
  });
  return out.length > maxLength ? out.slice(0, maxLength) : out;
};

/** The values of a list, later keys winning, each expanded against all of them. */
export const expandAll = (list: readonly CiVariable[]): Record<string, string> => {
  const last = asMap(list);
  const plain = Object.values(last).filter((entry) => entry.file !== true);
  const values = Object.fromEntries(plain.map((entry) => [entry.key, entry.value]));
  return Object.fromEntries(
    Object.values(last).map((entry) => [entry.key, entry.raw ? entry.value : expand(entry.value, values, [entry.key])]),
  );
};
