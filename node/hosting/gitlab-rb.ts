import { rubyText } from './omnibus-config.ts';

/** A statement of gitlab.rb by which GitLab does not answer its gate: on port 80 of all its addresses, in plain http. */
interface AgainstGate {
  /** In the file, from 1 on. */
  line: number;
  /** As it stands there: `nginx['listen_port'] = 8443`. */
  said: string;
  /** What to write in its place, or at the end of the file: what is said last counts. */
  instead: string;
}

interface Rule {
  /** As Ruby names it. */
  name: string;
  isRight(value: string): boolean;
  instead: string;
}

const isFalse = (value: string): boolean => value === 'false';
/** Of all addresses: others are those of another machine, or lead to nobody but the container itself. */
const isAnyAddress = (value: string): boolean => /^\[?[^\]]*(['"])(\*|0\.0\.0\.0)\1/.test(value);
const addresses = "nginx['listen_addresses'] = ['*', '[::]']";

const rules: readonly Rule[] = [
  { name: "nginx['enable']", isRight: (value) => value === 'true', instead: "nginx['enable'] = true" },
  {
    name: "nginx['listen_port']",
    isRight: (value) => /^(['"]?)80\1$/.test(value),
    instead: "nginx['listen_port'] = 80",
  },
  // Unset it follows external_url, which may say https for a proxy in front.
  { name: "nginx['listen_https']", isRight: isFalse, instead: "nginx['listen_https'] = false" },
  { name: "nginx['listen_addresses']", isRight: isAnyAddress, instead: addresses },
  {
    name: "nginx['listen_address']",
    isRight: (value) => value === 'nil' || isAnyAddress(value),
    instead: `nginx['listen_address'] = nil; ${addresses}`,
  },
  // Nobody who could be asked for a certificate reaches it, and each start would end with that.
  { name: "letsencrypt['enable']", isRight: isFalse, instead: "letsencrypt['enable'] = false" },
];

/**
 * What a person wrote into gitlab.rb for another place than behind a gate, where it wins over all that the container's environment
 * says (contract §6). Read by form and not as Ruby: a value that is computed counts as a wrong one. `url`: by which the mesh has it.
 */
export function againstGate(ruby: string, url: string): AgainstGate[] {
  const last = new Map<string, { line: number; said: string; value: string }>();
  for (const { line, text } of statementsOf(ruby)) {
    const [, name = '', value = ''] = setting.exec(text) ?? [];
    const plain = plainName(name);
    if (rules.some((rule) => rule.name === plain)) last.set(plain, { line, said: `${plain} = ${value}`, value });
    const [, address] = externalUrl.exec(text) ?? [];
    if (address !== undefined) last.set('external_url', { line, said: `external_url '${address}'`, value: address });
  }
  const wrong = rules.flatMap(({ name, isRight, instead }) => {
    const found = last.get(name);
    return found === undefined || isRight(found.value) ? [] : { line: found.line, said: found.said, instead };
  });
  const address = last.get('external_url');
  // All that asks it asks at the root: pages, API, git.
  const isBelow = address !== undefined && /^[a-z]+:\/\/[^/]+\/+[^/]/i.test(address.value);
  if (isBelow) wrong.push({ line: address.line, said: address.said, instead: `external_url ${rubyText(url)}` });
  return wrong.map((one) => ({ ...one, said: one.said.slice(0, 80) })).sort((a, b) => a.line - b.line);
}

/** However it is quoted and spaced. */
const plainName = (name: string): string => name.replace(/\[\s*(['"])(\w+)\1\s*\]/, "['$2']");

/** `name['key'] = value` up to a comment; a literal alone, where one stands there. */
const setting =
  /^((?:nginx|letsencrypt)\[\s*['"]\w+['"]\s*\])\s*=\s*(\[[^\]]*\]|'[^']*'|"[^"]*"|[^#\s]+(?:\s+[^#\s]+)*)/;
const externalUrl = /^external_url[ (]+['"]([^'"\s]{1,300})['"]/;

/** No comments; several on a line, or one over several lines where it is a list. */
function statementsOf(ruby: string): { line: number; text: string }[] {
  const found: { line: number; text: string }[] = [];
  let isHidden = false;
  for (const [index, whole] of ruby.split('\n').entries()) {
    if (/^=begin\b/.test(whole)) isHidden = true;
    if (/^=end\b/.test(whole)) isHidden = false;
    else if (!isHidden && !/^\s*#/.test(whole))
      for (const text of whole.split(';')) {
        const open = found.at(-1);
        if (open && /=\s*\[[^\]]*$/.test(open.text)) open.text = `${open.text} ${text.trim()}`;
        else found.push({ line: index + 1, text: text.trim() });
      }
  }
  return found;
}

/** What it says of nginx's https, the last that is said; null: nothing that is true or false. */
export function listensHttpsIn(ruby: string): boolean | null {
  const said = statementsOf(ruby).flatMap(({ text }) => {
    const [, name = '', value = ''] = setting.exec(text) ?? [];
    return plainName(name) === "nginx['listen_https']" && /^(true|false)$/.test(value) ? [value] : [];
  });
  const last = said.at(-1);
  return last === undefined ? null : last === 'true';
}

/** Where it says that people reach it elsewhere; null where it says nothing, or the same as the mesh. */
export function otherUrlIn(ruby: string, url: string): string | null {
  const said = statementsOf(ruby).flatMap(({ text }) => externalUrl.exec(text)?.[1] ?? []);
  const last = said.at(-1)?.replace(/\/+$/, '');
  return last === undefined || last === url.replace(/\/+$/, '') ? null : last;
}

/** What to put behind it. `because`: one line for whoever reads the file. */
export function fitForGate(wrong: readonly AgainstGate[], because: string): string {
  const lines = wrong.map(({ line, said, instead }) => `${instead} # line ${line}: ${said.replace(/\s+/g, ' ')}`);
  return `\n\n# autogit-node: ${because.replace(/\s+/g, ' ')}\n${lines.join('\n')}\n`;
}

/** As one sentence with what to do, of a GitLab that does not answer. */
export function againstGateWords(wrong: readonly AgainstGate[]): string | null {
  if (wrong.length === 0) return null;
  const each = wrong.map(({ line, said, instead }) => `line ${line} (${said}) must be ${instead}`);
  return `its config/gitlab.rb goes against its gate: ${each.slice(0, 3).join(', ')}`;
}
