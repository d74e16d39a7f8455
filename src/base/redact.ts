// What servers and SDKs say of a failure may hold credentials: an Authorization header, a signed URL, the URI of an upload
// session (whoever knows it may write). Nothing of the kind may reach a log, so every text of theirs passes through here.

type Pattern = readonly [RegExp, string];

/** A URL keeps its host and path; user, query and fragment go. */
const URLS: Pattern = [
  /\b([a-z][a-z0-9+.-]*:\/\/)(?:[^\s/?#@"'<>]*@)?([^\s?#"'<>]*)(?:[?#][^\s"'<>]*)?/gi,
  "$1$2",
];
/** User and password in front of a host's name. */
const USERS: Pattern = [/\b([a-z][a-z0-9+.-]*:\/\/)[^\s/?#"'<>]*@/gi, "$1"];
const SECRETS: readonly Pattern[] = [
  [/\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]+/gi, "$1 ***"],
  [/\bAWS4-HMAC-SHA256\b[^"'<>\r\n]*/g, "AWS4-HMAC-SHA256 ***"],
  [/\bya29\.[A-Za-z0-9._-]+/g, "***"],
  [/\b(?:AKIA|ASIA)[A-Z0-9]{12,}/g, "***"],
  [/\bhf_[A-Za-z0-9]{16,}/g, "***"],
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g, "***"],
  [
    /(["']?\b(?:authorization|x-amz-[a-z-]*(?:signature|credential|token)|x-goog-(?:signature|credential)|upload_?id|(?:access|refresh|id|session|security)_?token|private_?key|secret(?:_?access_?key)?|client_?secret|password|signature)["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s&,;"'<>}]+)/gi,
    "$1***",
  ],
];

/** The text without what could be a credential, an Authorization header, or a signed or session URL; of at most so many characters. */
export function redact(text: string, limit = 300): string {
  const clean = replaceAll(text, [URLS, ...SECRETS])
    .replace(/\s+/g, " ")
    .trim();
  return clean.length > limit ? `${clean.slice(0, limit - 3)}...` : clean;
}

/** The text as it is, but for what is a credential in it: for messages of our own, which may name what the user gave. */
export function hideSecrets(text: string): string {
  return replaceAll(text, [USERS, ...SECRETS]);
}

function replaceAll(text: string, patterns: readonly Pattern[]): string {
  return patterns.reduce((clean, [pattern, instead]) => clean.replace(pattern, instead), text);
}
