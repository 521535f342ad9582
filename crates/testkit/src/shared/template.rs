//! One URL for several servers, and what can be made of it.

use crate::{Error, Result};

/// The parts of `redis-cluster://user:password@host:port,host:port/path`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Template<'a> {
    scheme: &'a str,
    /// With its `@`, if there is one.
    login: &'a str,
    hosts: &'a str,
    /// With its `/`, if there is one.
    path: &'a str,
}

impl<'a> Template<'a> {
    pub(super) fn of(url: &'a str) -> Result<Self> {
        let wrong = |reason: &str| Error::Config { field: "url", reason: reason.to_owned() };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
        if scheme.ends_with("unix") {
            return Err(wrong("the shared server is reached by a socket"));
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (login, hosts) =
            authority.split_at(authority.rfind('@').map_or(0, |at| at.saturating_add(1)));
        Ok(Self { scheme, login, hosts, path })
    }

    /// The same for another user: `name:password`, escaped.
    pub(super) fn for_user(&self, login: &str) -> String {
        format!("{}://{login}@{}{}", self.scheme, self.hosts, self.path)
    }

    /// `host:port` of each that it lists.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &'a str> {
        self.hosts.split(',')
    }

    /// What stands behind the first `/`: of sentinels, the name of the primary and perhaps a database.
    pub(super) fn name(&self) -> &'a str {
        let path = self.path.trim_start_matches('/');
        path.split_once('/').map_or(path, |(name, _)| name)
    }

    /// The URL of one server, spoken to as the user of this one.
    pub(super) fn server(&self, place: &str) -> String {
        format!("redis://{}{place}", self.login)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_made_anew() {
        let url = "redis-sentinel://:a%40b@h:1,i:2/mymaster";
        let template = Template::of(url).unwrap();
        assert_eq!(template.hosts().collect::<Vec<_>>(), ["h:1", "i:2"]);
        assert_eq!(template.name(), "mymaster");
        assert_eq!(template.server("j:3"), "redis://:a%40b@j:3");
        assert_eq!(template.for_user("ann:pw"), "redis-sentinel://ann:pw@h:1,i:2/mymaster");

        let plain = Template::of("redis-cluster://h:1,i:2").unwrap();
        assert_eq!((plain.name(), plain.server("i:2").as_str()), ("", "redis://i:2"));
        assert_eq!(plain.for_user("ann:pw"), "redis-cluster://ann:pw@h:1,i:2");
        assert_eq!(Template::of("redis://h:1/3").unwrap().for_user("a:b"), "redis://a:b@h:1/3");
        for url in ["unix:///a/b", "redis+unix:///a", "h:1"] {
            assert!(matches!(Template::of(url), Err(Error::Config { field: "url", .. })), "{url}");
        }
    }
}
