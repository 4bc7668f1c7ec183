import { redact } from '../log.ts';

/** What stands in the place of a secret. */
const gone = '[redacted]';

/** Kinds of secrets that can be told by their form. */
const forms: readonly RegExp[] = [
  // Keys, whole or cut short, also in JSON, where their lines end in \n.
  /-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----[\s\S]*?(?:-----END [A-Z0-9 ]*-----|$)/g,
  // JSON Web Tokens, signed (three parts) or sealed (five), and what is left of one that was cut short.
  /\beyJ[\w-]{8,}(?:\.[\w-]*){0,4}/g,
  // Tokens of others by their prefixes: GitHub, Docker Hub, Hugging Face, OpenAI and the like, Slack, npm, PyPI, AWS, Google.
  /\b(?:gh[pousr]_|github_pat_|dckr_pat_|hf_|sk-|xox[a-z]-|xapp-|npm_|pypi-|AIza|ntfy_|tk_|agk_)(?:[\w-]{8,}|[\w-]+$)/g,
  /\b(?:AKIA|ASIA)(?:[0-9A-Z]{12,}|[0-9A-Z]+$)/g,
  /\bAGE-SECRET-KEY-1[0-9A-Z]+/g,
  // And Stripe, Tailscale, Vault, Google's OAuth, SendGrid; the key of a webhook's signature, as notices have it.
  /\b(?:[sr]k_(?:live|test)_|tskey-|hv[sb]\.|ya29\.|SG\.)[\w.-]{12,}/g,
  /\bwhsec_[A-Za-z0-9+/=]{8,}/g,
  // One-time invites, with their dashes or without, and the words that two people compare.
  /\b[0-9A-HJKMNP-TV-Z]{5}(?:[- ]?[0-9A-HJKMNP-TV-Z]{5}){5}\b/gi,
  /\b[0-9A-HJKMNP-TV-Z]{5}(?:-[0-9A-HJKMNP-TV-Z]{5}){2,4}(?:-[0-9A-HJKMNP-TV-Z]{0,5})?$/gi,
  /(?<=\bwords[" :=]{1,8})[a-z]{3,9}(?:[- ][a-z]{3,9}){3}\b/g,
  // Addresses that are secrets themselves.
  /(?<=\bhttps:\/\/(?:hooks\.slack(?:-gov)?\.com\/(?:services|triggers|workflows)|discord(?:app)?\.com\/api\/webhooks|hc-ping\.com|outlook\.office\.com\/webhook)\/)[^\s"'<>]+/g,
  /(?<=\bhttps?:\/\/[^\s"'<>]{1,200}\/(?:webhooks?|webhookb2|hooks|push|ping)\/)[^\s"'<>]{8,}/g,
  /(?<=\/bot)\d{5,}:[\w-]{8,}/g,
  // The place of a session of the page.
  /(?<=\/s\/)[\w-]{22}(?![\w-])/g,
  // What a program was given beside its user, or behind a flag that says so.
  /(?<=\s(?:-u[ =]?|--user[ =])["']?[\w.@-]{1,64}:)[^\s"']+/g,
  /(?<=\b(?:login|sshpass)\b[^\n]{0,200}\s-p[ =]["']?)[^\s"']+/g,
  // As ~/.netrc has it.
  /(?<=\blogin \S{1,64}\s{1,8}password )\S+/g,
  /(?<=\s--?[\w-]{0,40}(?:password|passwd|passphrase|secret|token|api-?key) )(?!-)[^\s"'-][^\s"']*/gi,
];

/*
 * Each of these reads a long line in one go: no two parts that may be long stand beside each other where the same letters fit both, and
 * whatever has begun has an end where the text ends. A token, a quote or a list that was cut off there is as secret as a whole one.
 */
/** `Authorization: Bearer …`, whatever it is in. */
const schemes = /\b(bearer|basic|private-token|job-token)(["']?\s*[:=]\s*["']?|["']?\s+)[^\s"',;]{4,}/gi;
/** What is set: in quotes, also those of a text within JSON, as a list, or up to the next blank. */
const setTo =
  /(\\"(?:[^"\\]|\\(?!"))*(?:\\"|(?="|$))|"(?:[^"\\]|\\[\s\S])*\\?(?:"|$)|'(?:[^']|'')*(?:'|$)|\[[^\]\n]*\]?|[^\s,;}\]]+)/
    .source;
/** What follows a name that says it is secret; names of variables that hold one are no secrets, but nobody misses them. */
const named = new RegExp(
  /((?:^|[^A-Za-z0-9])[\w.-]{0,64}(?:password|passwd|passphrase|secret|token|api[_-]?key|private[_-]?key|access[_-]?key|credential|cookie|auth)[\w.-]{0,64}\\?["']?\s*[:=]\s*)/
    .source + setTo,
  'gi',
);
/** The short names, which are also parts of harmless words. */
const short = new RegExp(
  /((?:^|[^A-Za-z0-9])(?:[\w.-]{0,64}[_.-])?(?:pass|pwd|pw)\\?["']?\s*[:=]\s*)/.source + setTo,
  'gi',
);
/** `passphrase: four words and more`, as a settings file has it: to the line's end; and with what is indented below it. */
const secretLine =
  /^([ \t]*(?:# *|- +)*[\w.-]{0,64}(?:password|passwd|passphrase|secret|token|api[_-]?key|private[_-]?key|access[_-]?key|credential|authorization)[\w.-]{0,64}: +)(?!["'[{|>]|(?:null|true|false|\d+)[ \t]*$)\S.*$/gim;
const secretBlock =
  /^(([ \t]*)(?:- +)?[\w.-]{0,64}(?:password|passwd|passphrase|secret|token|api[_-]?key|private[_-]?key|access[_-]?key|credential)[\w.-]{0,64}:[ \t]*(?:[|>][+-]?[ \t]*)?\n)(?:\2[ \t]+\S.*(?:\n|$))+/gim;
/** What sentences about a secret go on with that is none: "the token is not valid", "the password was changed by alice". */
const harmless =
  'not|no|none|null|wrong|right|invalid|valid|missing|empty|unset|unknown|known|needed|required|refused|rejected|accepted|expired|' +
  'sealed|kept|read|written|shown|given|made|changed|renewed|removed|deleted|revoked|in|on|at|of|by|from|the|a|an|too|that|what|this|' +
  'used|asked|taken|gone|there|here|another|due|lost|found|true|false';
const isWords =
  '(?: (?:for|of|to|on|at|in) [^\\s"]{1,64}){0,2} (?:is|was|are|became|(?:changed|set|reset) to)(?: (?:now|still|set to|changed to|simply))?:? +';
/** "the password is hunter2", as people write it and programs say it; of a passphrase all words to the end of what is said. */
const inProse = new RegExp(
  `(\\b(?:password|passwd|passcode|secret|token|api[ _-]?key|private key|access key|credentials?|pin)${isWords}\\\\?["'\`]?)` +
    `(?!(?:${harmless})(?![^\\s"'\`.,;:]))[^\\s"'\`\\\\]*[^\\s"'\`\\\\.,;:?)]`,
  'gi',
);
const phraseInProse = new RegExp(
  `(\\b(?:pass ?phrase|recovery key)${isWords}\\\\?["'\`]?)(?!(?:${harmless})\\b)[^"'\`\\\\\\n.,;]+`,
  'gi',
);
/** A variable's name and, beside it, its value, as GitLab and containers' settings have them; and one of GitLab's that is masked, whatever its name. */
const secretName = '(?:pass|pwd|secret|token|key|credential|private|auth)';
const inJson = /(\\"(?:[^"\\]|\\(?!"))*\\"|"(?:[^"\\]|\\[\s\S])*")/.source;
const is = '\\s{0,40}:\\s{0,40}';
const next = '\\s{0,40},\\s{0,40}';
const field = `\\\\?"\\w{1,40}\\\\?"${is}(?:true|false|null|\\\\?"[^"\\\\]{0,100}\\\\?")`;
const ofVariable = new RegExp(
  `(\\\\?"(?:key|name)\\\\?"${is}\\\\?"[^"\\\\]{0,100}${secretName}[^"\\\\]{0,100}\\\\?"${next}\\\\?"value\\\\?"${is})${inJson}`,
  'gi',
);
const ofMasked = new RegExp(
  `(\\\\?"value\\\\?"${is})${inJson}(?=(?:${next}${field}){0,6}${next}\\\\?"masked\\\\?"${is}true)`,
  'g',
);
const inYaml = new RegExp(
  `(^[ \\t]*(?:- +)?(?:key|name): {0,8}["']?[\\w.-]{0,64}${secretName}[\\w.-]{0,64}["']?[ \\t]{0,8}\\n[ \\t]*value:[ \\t]{0,8})\\S.*$`,
  'gim',
);
const authorization = /(\bauthorization\\?["']?\s*[:=]\s*\\?["']?)[\w-]+ +[^\s"',;\\]+/gi;
const inQuery = /([?&](?:[\w-]*(?:token|key|secret|password|code|sig|signature))=)[^&\s"']+/gi;

/** Long runs of letters and digits. */
const runs = /[A-Za-z0-9+/_=-]{24,}/g;
const hex = /(?<![A-Za-z0-9])[0-9a-f]{32,}(?![A-Za-z0-9])/gi;
/** Who a machine is: it is in every report of a machine, and no secret. */
const nodeId = /^12D3Koo[1-9A-HJ-NP-Za-km-z]{45}$/;

const path = /^(?:\/[\w.=+-]{1,20})+\/?$/;

/** Looks as if it were drawn: the kind of character changes all the time, as in no word, path or name. */
function isDrawn(run: string): boolean {
  if (nodeId.test(run) || path.test(run)) return false;
  const kinds = [...run].map((letter) =>
    /[a-z]/.test(letter) ? 'a' : /[A-Z]/.test(letter) ? 'A' : /\d/.test(letter) ? '1' : '-',
  );
  if (!kinds.includes('1') || !kinds.includes('a') || !kinds.includes('A')) return false;
  const changes = kinds.filter((kind, index) => index > 0 && kind !== kinds[index - 1]).length;
  return changes / run.length > 0.35;
}

/**
 * A text for strangers: without tokens, keys, passwords, invites and whatever else looks drawn by chance. `secrets`: those that are
 * known by heart. It rather takes away too much; names of machines, projects, jobs and addresses stay, as nothing can be understood without.
 */
export function cleaned(text: string, secrets: readonly string[] = []): string {
  let clean = text;
  for (const secret of [...secrets].filter((one) => one.length >= leastChars).sort((a, b) => b.length - a.length))
    clean = withoutItsEnd(clean.replaceAll(secret, gone), secret);
  clean = redact(clean);
  for (const form of forms) clean = clean.replace(form, gone);
  return clean
    .replace(ofVariable, (_all, name: string, value: string) => `${name}${inItsQuotes(value)}`)
    .replace(ofMasked, (_all, name: string, value: string) => `${name}${inItsQuotes(value)}`)
    .replace(inYaml, `$1${gone}`)
    .replace(secretBlock, `$1$2  ${gone}\n`)
    .replace(secretLine, `$1${gone}`)
    .replace(phraseInProse, `$1${gone}`)
    .replace(inProse, `$1${gone}`)
    .replace(authorization, `$1${gone}`)
    .replace(schemes, `$1$2${gone}`)
    .replace(named, (_all, name: string, value: string) => `${name}${inItsQuotes(value)}`)
    .replace(short, (_all, name: string, value: string) => `${name}${inItsQuotes(value)}`)
    .replace(inQuery, `$1${gone}`)
    .replace(hex, gone)
    .replace(runs, (run) => (isDrawn(run) ? gone : run));
}

/** Shorter ones would be found everywhere. */
const leastChars = 6;

/** Where the text was cut off in the midst of a secret, what it has of it goes too. */
function withoutItsEnd(text: string, secret: string): string {
  for (let length = Math.min(secret.length, text.length); length >= leastChars; length--)
    if (text.endsWith(secret.slice(0, length))) return text.slice(0, -length) + gone;
  return text;
}

/** What is no text stays: `null`, a number, `true`. */
function inItsQuotes(value: string): string {
  if (/^(?:null|true|false|\d{1,12}(?:\.\d+)?|\{|\[|[|>][+-]?)$/.test(value)) return value;
  const [quote] = /^\\?["']/.exec(value) ?? [''];
  return `${quote}${gone}${quote}`;
}

/** Values of variables that are secret by their names. */
export const secretsOf = (env: Readonly<Record<string, string | undefined>>): string[] =>
  Object.entries(env).flatMap(([name, value]) =>
    value !== undefined && /token|secret|passw|passphrase|api_?key|credential|private/i.test(name) ? [value] : [],
  );
