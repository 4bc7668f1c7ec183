import { escapeHtml } from '../escape-html.ts';

/** Pages of the door itself, without a line of what the mesh knows: for those who are not in, and where the page's files are missing. */

const page = (title: string, body: string, tail = '', head = ''): string => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/door.css">
<title>${escapeHtml(title)}</title>${head}
<main>
<h1>${escapeHtml(title)}</h1>
${body}
</main>
${tail}
</html>
`;

export const doorCss = `:root{color-scheme:light dark;font:1rem/1.5 system-ui,sans-serif}
body{margin:0;padding:2rem 1rem}
main{max-width:42rem;margin:0 auto}
code{display:inline-block;padding:.15rem .4rem;border:1px solid;border-radius:.25rem;font:.95em ui-monospace,monospace}
`;

/** A browser that was in before finds back to its session from the bare address, which bookmarks keep; not from a session that is over. */
export const doorJs = `try{const k='autogit-page',p=localStorage.getItem(k);
if(location.pathname.startsWith('/s/')){if(p&&location.pathname.startsWith(p))localStorage.removeItem(k)}
else if(/^\\/s\\/[\\w-]{22}\\/$/.test(p||''))location.replace(p)}catch{}
`;

export const howToGetIn = (node: string, because: string | null): string =>
  page(
    `autogit-node on ${node}`,
    `${because === null ? '' : `<p role="alert"><strong>${escapeHtml(because)}</strong></p>\n`}<p>This page shows the mesh to those who came in by a link. Type on ${escapeHtml(node)}:</p>
<p><code>autogit-node dashboard</code></p>
<p>and open the link that it prints, in this browser. It is good once, for ten minutes; the browser stays in for a week. For others: <code>autogit-node dashboard --role viewer</code></p>`,
    '<script src="/door.js"></script>',
  );

export const noAssets = (node: string): string =>
  page(
    `autogit-node on ${node}`,
    `<p>You are in, but the files of the page are missing beside the program. In a checkout: <code>npm run build</code></p>
<p>What it shows is also here: <a href="api/status">status</a>, <a href="api/jobs?all=1">jobs</a>, <a href="api/summary">summary</a>, <a href="api/openapi.json">the API</a>.</p>`,
  );

/** Goes on by itself, as a step of our own page. `place`: of letters, digits, - and /. */
export const youAreIn = (node: string, place: string): string =>
  page(
    `autogit-node on ${node}`,
    `<p><a href="${place}">Go on</a></p>`,
    '',
    `<meta http-equiv="refresh" content="0;url=${place}">`,
  );
