// What servers and SDKs say of a failure may hold credentials: an Authorization header, a signed URL, the URI of an upload
// session (whoever knows it may write). Nothing of the kind may reach a log, so every text of theirs passes through here.

const SECRETS: readonly (readonly [RegExp, string])[] = [
  // A URL keeps its host and path; user, query and fragment go.
  [/\b([a-z][a-z0-9+.-]*:\/\/)(?:[^\s/?#@"'<>]*@)?([^\s?#"'<>]*)(?:[?#][^\s"'<>]*)?/gi, "$1$2"],
  [/\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]+/gi, "$1 ***"],
  [/\bAWS4-HMAC-SHA256\b[^"'<>\r\n]*/g, "AWS4-HMAC-SHA256 ***"],
  [/\bya29\.[A-Za-z0-9._-]+/g, "***"],
  [/\b(?:AKIA|ASIA)[A-Z0-9]{12,}/g, "***"],
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g, "***"],
  [
    /(["']?\b(?:authorization|x-amz-[a-z-]*(?:signature|credential|token)|x-goog-(?:signature|credential)|upload_?id|(?:access|refresh|id|session|security)_?token|private_?key|secret(?:_?access_?key)?|client_?secret|password|signature)["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s&,;"'<>}]+)/gi,
    "$1***",
  ],
];

/** The text without what could be a credential, an Authorization header, or a signed or session URL; of at most so many characters. */
export function redact(text: string, limit = 300): string {
  let clean = text;
  for (const [pattern, instead] of SECRETS) clean = clean.replace(pattern, instead);
  clean = clean.replace(/\s+/g, " ").trim();
  return clean.length > limit ? `${clean.slice(0, limit - 3)}...` : clean;
}
